//! `#[test]`: a test of the user's, as the root actor of a process of its own.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Error, ItemFn, LitStr, Result, ReturnType, Signature};

/// The spawn backends: names and variants.
const BACKENDS: [(&str, &str); 5] = [
    ("exec", "Exec"),
    ("forkserver", "Forkserver"),
    ("fork", "Fork"),
    ("thread", "Thread"),
    ("thread_forkserver", "ThreadForkserver"),
];

/// What stands in the attribute's parentheses.
#[derive(Default)]
pub(crate) struct Options {
    backend: Option<syn::Ident>,
}

impl Options {
    /// One option.
    pub(crate) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if !meta.path.is_ident("backend") {
            return Err(meta.error("the only option is `backend = \"NAME\"`"));
        }
        let name: LitStr = meta.value()?.parse()?;
        let text = name.value();
        let Some((_, variant)) = BACKENDS.iter().find(|(known, _)| *known == text) else {
            let known = BACKENDS.map(|(known, _)| format!("`{known}`")).join(", ");
            return Err(Error::new_spanned(
                name,
                format!("no backend `{text}`: there are {known}"),
            ));
        };
        self.backend = Some(syn::Ident::new(variant, name.span()));
        Ok(())
    }
}

pub(crate) fn expand(options: &Options, function: ItemFn) -> Result<TokenStream> {
    check(&function)?;
    let ItemFn { attrs, vis, sig: Signature { ident, output, .. }, block } = function;
    let backend = match &options.backend {
        Some(variant) => quote!(::core::option::Option::Some(::runtime::Backend::#variant)),
        None => quote!(::core::option::Option::None),
    };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #ident() {
            async fn root() #output #block

            const NAME: &str = ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#ident));

            #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ACTOR_TESTS)]
            #[linkme(crate = ::runtime::__private::linkme)]
            static TEST: ::runtime::__private::Test = ::runtime::__private::Test {
                name: NAME,
                backend: #backend,
                root: |config| ::runtime::__private::run_test_root(config, root),
            };

            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = ::runtime::__private::before_main;

            ::runtime::__private::run_test(NAME);
        }
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(
            signature.fn_token,
            "a test with actors is async: write `async fn`, or use the plain `#[test]`",
        ));
    }
    if !signature.inputs.is_empty() {
        return Err(Error::new_spanned(&signature.inputs, "a test takes no arguments"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "a test cannot be generic"));
    }
    let expects_panic =
        function.attrs.iter().find(|attribute| attribute.path().is_ident("should_panic"));
    match (expects_panic, &signature.output) {
        (Some(attribute), ReturnType::Type(..)) => Err(Error::new_spanned(
            attribute,
            "a test that should panic returns nothing: an error it returned would count as the panic",
        )),
        (Some(_) | None, ReturnType::Default) | (None, ReturnType::Type(..)) => Ok(()),
    }
}
