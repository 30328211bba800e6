const message = document.getElementById("message");

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(`the shop answered ${answer.status}`);
  return answer.json();
}

async function order(product) {
  try {
    const body = new URLSearchParams({ product: product.number, quantity: 1 });
    await ask("/api/orders", { method: "POST", body });
    const { count } = await ask("/api/orders/count");
    message.textContent = `Thank you. ${count} orders so far.`;
  } catch (error) {
    message.textContent = `That did not work: ${error.message}.`;
  }
}

async function show() {
  try {
    const { version, products } = await ask("/api/products");
    document.getElementById("version").textContent = version;
    document.getElementById("products").replaceChildren(...products.map((product) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = product.name;
      const price = document.createElement("span");
      price.textContent = (product.cents / 100).toFixed(2);
      const button = document.createElement("button");
      button.textContent = "Order";
      button.addEventListener("click", () => order(product));
      item.append(name, price, button);
      return item;
    }));
  } catch (error) {
    message.textContent = `The shop is closed: ${error.message}.`;
  }
}

show();
