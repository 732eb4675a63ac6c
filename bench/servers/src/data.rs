//! The static data behind the benchmark's subgraphs: the same at every start.

/// Users in the data.
pub const USERS: usize = 10;
/// Products that have reviews.
pub const REVIEWED_PRODUCTS: usize = 10;
/// Products in the data: enough for a 7 MB list.
pub const PRODUCTS: usize = 22_000;
/// Reviews that each user wrote, and that each reviewed product has: they go round the products.
pub const REVIEWS_PER_USER: usize = 3;

/// A review, with its author and product by position.
#[derive(Clone, Copy)]
pub struct ReviewRow {
    /// Position among the reviews.
    pub index: usize,
    /// Position among the users.
    pub author: usize,
    /// Position among the products.
    pub product: usize,
}

/// All reviews, ordered by author.
pub fn reviews() -> impl Iterator<Item = ReviewRow> {
    (0..USERS * REVIEWS_PER_USER).map(|index| {
        let author = index / REVIEWS_PER_USER;
        ReviewRow {
            index,
            author,
            product: (author + (index % REVIEWS_PER_USER) * 3) % REVIEWED_PRODUCTS,
        }
    })
}

/// A sentence that is different for each product, about 270 characters with quotes and an umlaut in
/// it, so that a gateway meets escapes and multi-byte text.
pub fn description(product: usize) -> String {
    format!(
        "Product {product} is \"the\" one: made of wood, glass and a little steel, it weighs what it should, \
         stands where it is put and lasts for years. Its maker in Köln has built it since 1962 in the same \
         small shop, by hand, one after the other, and signs each on the back with a number: {product:08}."
    )
}
