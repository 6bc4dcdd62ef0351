//! The attributes of `runtime`: `main`, `remote`, `actor`. Use them by way of that crate, where they are documented beside what they
//! stand for.
//!
//! Each attribute is one file: the item is read into what is known of it, then written out. What several need to know of a
//! function's signature is in `signature`.

mod actor;
mod entry;
mod remote;
mod signature;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes `async fn main` the root actor of a program.
///
/// The function takes nothing and returns what a `main` may. Before it runs, a process that was started to be an actor is
/// diverted to be that; after it, all of its tree has ended. The root actor runs on a thread of its own; the main thread serves
/// forks. The variable `RUNTIME_BACKEND` names the backend of children for which none is named.
///
/// ```ignore
/// #[runtime::main]
/// async fn main() -> runtime::Result<()> { … }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let function = parse_macro_input!(item as syn::ItemFn);
    entry::expand(&arguments, function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets an `async fn` be called in another actor.
///
/// The function stays what it is. Beside it comes a type of the same name, for [`Portal::call`], [`Start::expose`] and
/// [`Nursery::run_in_actor`]. Arguments and result are sent, so they are owned and serialisable; if it returns a `Result`, so is
/// its error, and it implements `Error`.
///
/// ```ignore
/// #[runtime::remote]
/// async fn fib(n: u64) -> u64 { … }
///
/// let portal = n.actor("worker").expose::<fib>().await?;
/// let value = portal.call::<fib>((10,)).await?;
/// ```
///
/// [`Portal::call`]: https://docs.rs/runtime
/// [`Start::expose`]: https://docs.rs/runtime
/// [`Nursery::run_in_actor`]: https://docs.rs/runtime
#[proc_macro_attribute]
pub fn remote(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let function = parse_macro_input!(item as syn::ItemFn);
    remote::expand(&arguments, function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets the `async` methods of an `impl` block be called in an actor whose state the type is.
///
/// For `impl Counter` comes `CounterHandle`, with the same methods, returning what a call returns, and those of a portal.
/// Methods that take `&self` run side by side; one that takes `&mut self` runs alone. Functions that are not `async`, and those
/// without a receiver, are left to the type's own use.
///
/// The state is made in the actor, by `new` if the block has one (it may take arguments, be `async`, and return a `Result`), else
/// by `Default`. The handle is as visible as the most visible function of the block; `#[actor(pub)]` says otherwise.
///
/// ```ignore
/// #[runtime::actor]
/// impl Counter {
///     async fn add(&mut self, n: u64) -> Result<u64, Overflow> { … }
/// }
///
/// let counter = n.start::<Counter>("counter").await?;
/// counter.add(3).await?;
/// ```
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let block = parse_macro_input!(item as syn::ItemImpl);
    actor::expand(arguments, block).unwrap_or_else(syn::Error::into_compile_error).into()
}
