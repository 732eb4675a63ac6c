//! Four subgraphs in one process: accounts, inventory, products and reviews, each on its own path.
//! Answers are remembered by request, so that the subgraphs take little of the machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_graphql::{
    EmptyMutation, EmptySubscription, ID, Object, ObjectType, Request, SDLExportOptions, Schema,
    SimpleObject,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use subgraph::list_size::list_size;

use crate::data::{self, PRODUCTS, REVIEWS_PER_USER, ReviewRow, USERS};

/// The subgraphs' names, which are their paths too, and their SDL.
pub fn sdl() -> Vec<(&'static str, String)> {
    let options = || SDLExportOptions::new().federation();
    vec![
        (
            "accounts",
            schema(accounts::Query).sdl_with_options(options()),
        ),
        (
            "inventory",
            schema(inventory::Query).sdl_with_options(options()),
        ),
        (
            "products",
            schema(products::Query).sdl_with_options(options()),
        ),
        (
            "reviews",
            schema(reviews::Query).sdl_with_options(options()),
        ),
    ]
}

/// Serves the four subgraphs until the process ends.
///
/// # Errors
/// When the socket fails.
pub fn serve(listener: TcpListener) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(accept(listener))
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let router = Router::new()
        .merge(routes("/accounts", schema(accounts::Query)))
        .merge(routes("/inventory", schema(inventory::Query)))
        .merge(routes("/products", schema(products::Query)))
        .merge(routes("/reviews", schema(reviews::Query)));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it the answers wait for the kernel; an error would only make them slower.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

/// The address of a subgraph.
pub fn url(address: SocketAddr, name: &str) -> String {
    format!("http://{address}/{name}")
}

fn schema<Q: ObjectType + 'static>(query: Q) -> Schema<Q, EmptyMutation, EmptySubscription> {
    Schema::build(query, EmptyMutation, EmptySubscription)
        .enable_federation()
        .finish()
}

#[derive(Clone)]
struct Subgraph<Q> {
    schema: Schema<Q, EmptyMutation, EmptySubscription>,
    answers: Arc<Mutex<HashMap<Bytes, Bytes>>>,
}

fn routes<Q: ObjectType + Clone + 'static>(
    path: &'static str,
    schema: Schema<Q, EmptyMutation, EmptySubscription>,
) -> Router {
    Router::new()
        .route(path, post(answer::<Q>))
        .with_state(Subgraph {
            schema,
            answers: Arc::default(),
        })
}

async fn answer<Q: ObjectType + Clone + 'static>(
    State(subgraph): State<Subgraph<Q>>,
    body: Bytes,
) -> impl IntoResponse {
    let known = subgraph
        .answers
        .lock()
        .map(|answers| answers.get(&body).cloned())
        .ok()
        .flatten();
    let answer = match known {
        Some(answer) => answer,
        None => {
            let answer = execute(&subgraph.schema, &body).await;
            if let Ok(mut answers) = subgraph.answers.lock() {
                answers.insert(body, answer.clone());
            }
            answer
        }
    };
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

async fn execute<Q: ObjectType + 'static>(
    schema: &Schema<Q, EmptyMutation, EmptySubscription>,
    body: &[u8],
) -> Bytes {
    let answer = match serde_json::from_slice::<Request>(body) {
        Ok(request) => serde_json::to_vec(&schema.execute(request).await),
        Err(error) => {
            serde_json::to_vec(&serde_json::json!({ "errors": [{ "message": error.to_string() }] }))
        }
    };
    answer.unwrap_or_default().into()
}

mod accounts {
    use super::*;

    #[derive(Clone)]
    pub struct Query;

    #[derive(SimpleObject)]
    pub struct User {
        id: ID,
        name: String,
        username: String,
        birthday: String,
    }

    fn user(index: usize) -> User {
        User {
            id: index.into(),
            name: format!("Author number {index}"),
            username: format!("user-{index}"),
            birthday: format!("19{}-04-1{}", 60 + index, index % 10),
        }
    }

    #[Object]
    impl Query {
        #[graphql(directive = list_size::apply(Some(USERS as i32), None, None, None))]
        async fn users(&self) -> Vec<User> {
            (0..USERS).map(user).collect()
        }

        #[graphql(entity)]
        async fn find_user(&self, id: ID) -> Option<User> {
            id.parse().ok().filter(|index| *index < USERS).map(user)
        }
    }
}

mod inventory {
    use super::*;

    #[derive(Clone)]
    pub struct Query;

    pub struct Product {
        upc: ID,
        price: Option<i32>,
        weight: Option<i32>,
    }

    #[Object]
    impl Product {
        async fn upc(&self) -> &ID {
            &self.upc
        }

        #[graphql(external)]
        async fn price(&self) -> Option<i32> {
            self.price
        }

        #[graphql(external)]
        async fn weight(&self) -> Option<i32> {
            self.weight
        }

        async fn in_stock(&self) -> bool {
            self.upc.parse::<usize>().is_ok_and(|index| index % 3 != 0)
        }

        #[graphql(requires = "price weight")]
        async fn shipping_estimate(&self) -> Option<i32> {
            Some(if self.price? > 1_000 {
                0
            } else {
                self.weight? / 2
            })
        }
    }

    #[Object]
    impl Query {
        #[graphql(entity)]
        async fn find_product(
            &self,
            #[graphql(key)] upc: ID,
            price: Option<i32>,
            weight: Option<i32>,
        ) -> Option<Product> {
            Some(Product { upc, price, weight })
        }
    }
}

mod products {
    use super::*;

    #[derive(Clone)]
    pub struct Query;

    #[derive(SimpleObject)]
    pub struct Product {
        upc: ID,
        name: String,
        price: i32,
        weight: i32,
        description: String,
    }

    fn product(index: usize) -> Product {
        Product {
            upc: index.into(),
            name: format!("Product number {index}"),
            price: (index as i32 * 137) % 2_000 + 1,
            weight: (index as i32 * 61) % 500 + 1,
            description: data::description(index),
        }
    }

    #[Object]
    impl Query {
        async fn top_products(&self, #[graphql(default = 5)] first: usize) -> Vec<Product> {
            (0..first.min(PRODUCTS)).map(product).collect()
        }

        #[graphql(entity)]
        async fn find_product(&self, upc: ID) -> Option<Product> {
            upc.parse()
                .ok()
                .filter(|index| *index < PRODUCTS)
                .map(product)
        }
    }
}

mod reviews {
    use super::*;

    #[derive(Clone)]
    pub struct Query;

    pub struct Review(ReviewRow);
    pub struct User(usize);
    pub struct Product(usize);

    #[Object]
    impl Review {
        async fn id(&self) -> ID {
            self.0.index.into()
        }

        async fn body(&self) -> String {
            format!(
                "Review {}: I would buy it again, \"any\" day.",
                self.0.index
            )
        }

        async fn author(&self) -> User {
            User(self.0.author)
        }

        async fn product(&self) -> Product {
            Product(self.0.product)
        }
    }

    #[Object]
    impl User {
        async fn id(&self) -> ID {
            self.0.into()
        }

        #[graphql(directive = list_size::apply(Some(REVIEWS_PER_USER as i32), None, None, None))]
        async fn reviews(&self) -> Vec<Review> {
            data::reviews()
                .filter(|review| review.author == self.0)
                .map(Review)
                .collect()
        }
    }

    #[Object]
    impl Product {
        async fn upc(&self) -> ID {
            self.0.into()
        }

        #[graphql(directive = list_size::apply(Some(REVIEWS_PER_USER as i32), None, None, None))]
        async fn reviews(&self) -> Vec<Review> {
            data::reviews()
                .filter(|review| review.product == self.0)
                .map(Review)
                .collect()
        }
    }

    #[Object]
    impl Query {
        async fn review_count(&self) -> usize {
            data::reviews().count()
        }

        #[graphql(entity)]
        async fn find_user(&self, id: ID) -> Option<User> {
            id.parse().ok().map(User)
        }

        #[graphql(entity)]
        async fn find_product(&self, upc: ID) -> Option<Product> {
            upc.parse().ok().map(Product)
        }

        #[graphql(entity)]
        async fn find_review(&self, id: ID) -> Option<Review> {
            let index: usize = id.parse().ok()?;
            data::reviews().nth(index).map(Review)
        }
    }
}
