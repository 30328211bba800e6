//! What the shop sells, and for how much.

/// Something to buy.
pub struct Product {
    pub number: u32,
    pub name: &'static str,
    /// Price in cents.
    pub cents: u32,
}

/// What there is.
pub const CATALOGUE: &[Product] = &[
    Product { number: 1, name: "Tide table", cents: 1_490 },
    Product { number: 2, name: "Rope, 20 m", cents: 3_900 },
    Product { number: 3, name: "Signal lamp", cents: 7_250 },
];

/// Guests pay this much more for each piece, in cents.
const GUESTS_PAY_MORE: u32 = 50;

/// What a customer pays for one piece, in cents.
pub fn price(product: &Product, customer: Option<u64>) -> u32 {
    match customer {
        Some(_) => product.cents,
        None => product.cents + GUESTS_PAY_MORE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_pay_more() {
        let lamp = &CATALOGUE[2];
        assert!(price(lamp, Some(4_711)) < price(lamp, None));
    }
}
