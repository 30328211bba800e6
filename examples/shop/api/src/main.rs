//! The shop's API.

mod catalogue;
mod http;
mod orders;

use std::{env, net::TcpListener, process::ExitCode, sync::Arc};

use catalogue::{CATALOGUE, price};
use http::{Answer, Request};
use orders::{Order, Orders};

/// Which version this is. Every answer carries it in the header `Shop-Version`.
const VERSION: &str = "v1";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("shop-api: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let port: u16 = port.parse().map_err(|_| format!("PORT is not a port: `{port}`"))?;
    let folder = env::var("TIDEGATE_DATA").unwrap_or_else(|_| "data".to_owned());
    let orders = Orders::open(folder.as_ref())
        .map_err(|error| format!("cannot keep orders in {folder}: {error}"))?;
    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    let known = orders.count().map_err(|error| format!("cannot read the orders: {error}"))?;
    println!("shop-api {VERSION} listens on port {port}, {known} orders so far");
    http::serve(
        &listener,
        Arc::new(move |request: &Request| {
            http::or_fault(|| answer(request, &orders)).with("Shop-Version", VERSION)
        }),
    );
    Ok(())
}

fn answer(request: &Request, orders: &Orders) -> Answer {
    let method = match request.method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    match (method, request.path.as_str()) {
        ("GET", "/api/products") => products(request),
        ("POST", "/api/orders") => order(request, orders),
        ("GET", "/api/orders/count") => match orders.count() {
            Ok(count) => Answer::json(200, format!(r#"{{"count":{count}}}"#)),
            Err(error) => broken("count the orders", &error),
        },
        ("GET", "/api/version") => Answer::json(200, format!(r#"{{"version":"{VERSION}"}}"#)),
        ("GET", "/health") => Answer::json(200, r#"{"status":"ok"}"#.to_owned()),
        ("GET", "/ready") => match orders.count() {
            Ok(_) => Answer::json(200, r#"{"status":"ready"}"#.to_owned()),
            Err(error) => broken("read the orders", &error).with_status(503),
        },
        (_, "/api/orders") => Answer::error(405, "POST only").with("Allow", "POST"),
        (_, "/api/products" | "/api/orders/count" | "/api/version" | "/health" | "/ready") => {
            Answer::error(405, "GET only").with("Allow", "GET, HEAD")
        }
        _ => Answer::error(404, "there is nothing here"),
    }
}

/// The number of the customer who asks; guests have none.
fn customer(request: &Request) -> Option<u64> {
    request.header("customer")?.parse().ok()
}

fn products(request: &Request) -> Answer {
    let customer = customer(request);
    let products: Vec<String> = CATALOGUE
        .iter()
        .map(|product| {
            let (number, name) = (product.number, product.name);
            let cents = price(product, customer);
            format!(r#"{{"number":{number},"name":"{name}","cents":{cents}}}"#)
        })
        .collect();
    Answer::json(200, format!(r#"{{"version":"{VERSION}","products":[{}]}}"#, products.join(",")))
}

fn order(request: &Request, orders: &Orders) -> Answer {
    let number = |name| request.form(name).and_then(|text| text.parse::<u32>().ok());
    let product = number("product")
        .and_then(|number| CATALOGUE.iter().find(|product| product.number == number));
    let Some(product) = product else {
        return Answer::error(422, "`product` is not the number of a product");
    };
    let Some(quantity @ 1..=100) = number("quantity") else {
        return Answer::error(422, "`quantity` is not a number from 1 to 100");
    };
    let customer = customer(request);
    let cents = price(product, customer) * quantity;
    let order = Order { customer, product: product.number, quantity, cents };
    match orders.add(&order) {
        Ok(id) => Answer::json(201, format!(r#"{{"order":"{id}","cents":{cents}}}"#)),
        Err(error) => broken("store the order", &error),
    }
}

fn broken(what: &str, error: &std::io::Error) -> Answer {
    eprintln!("cannot {what}: {error}");
    Answer::error(500, "the shop is out of order")
}
