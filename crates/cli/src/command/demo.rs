//! `tidegate demo`.

use crate::{context::Context, demo, exit::Exit, fault::Fault};

pub(crate) async fn run(context: &Context, options: &demo::Options) -> Result<Exit, Fault> {
    demo::run(context, options).await
}
