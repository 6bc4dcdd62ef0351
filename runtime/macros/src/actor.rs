//! `#[actor]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Path, Receiver, Result, Type, TypePath,
    Visibility,
};

use crate::context::Kind;
use crate::remote::fingerprint;
use crate::signature::{Linked, Shape};

pub(crate) fn expand(arguments: TokenStream, block: &ItemImpl) -> Result<TokenStream> {
    let named_visibility: Visibility = syn::parse2(arguments)?;
    let actor = actor_name(block)?.clone();
    let functions: Vec<&ImplItemFn> = block
        .items
        .iter()
        .filter_map(|item| if let ImplItem::Fn(function) = item { Some(function) } else { None })
        .collect();
    let handle = Handle {
        name: format_ident!("{actor}Handle"),
        visibility: widest(named_visibility, &functions),
    };
    let methods = functions.iter().filter_map(|function| Method::of(&actor, function).transpose());
    let methods = methods.collect::<Result<Vec<_>>>()?;
    let constructor = Constructor::of(&functions)?;

    let handle_type = handle.define(&actor);
    let handle_methods = handle.implement(&methods);
    let actor_impl = constructor.implement(&actor, &handle.name, &methods);
    let method_impls = methods.iter().map(Method::implement);
    let block = without_marks(block);
    Ok(quote! {
        #block
        #handle_type
        const _: () = {
            #handle_methods
            #actor_impl
            #(#method_impls)*
        };
    })
}

/// The block as the compiler is to see it: the marks on its methods are for this macro.
fn without_marks(block: &ItemImpl) -> ItemImpl {
    let mut block = block.clone();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            function.attrs.retain(|attribute| Kind::of(attribute).is_none());
        }
    }
    block
}

fn actor_name(block: &ItemImpl) -> Result<&Ident> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(
            path,
            "an actor's methods are its own: write `impl Type`, without a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        let why =
            "what is called from another actor is found by its name, so an actor cannot be generic";
        return Err(Error::new_spanned(&block.generics, why));
    }
    let name = if let Type::Path(TypePath { path, .. }) = &*block.self_ty {
        Path::get_ident(path)
    } else {
        None
    };
    name.ok_or_else(|| {
        Error::new_spanned(
            &block.self_ty,
            "name the actor's type without a path: its handle is put beside it",
        )
    })
}

/// What is named, if anything is; else as much as the most visible function.
fn widest(named: Visibility, functions: &[&ImplItemFn]) -> Visibility {
    let rank = |visibility: &Visibility| match visibility {
        Visibility::Inherited => 0,
        Visibility::Restricted(restricted) if restricted.path.is_ident("crate") => 2,
        Visibility::Restricted(_) => 1,
        Visibility::Public(_) => 3,
    };
    match named {
        Visibility::Inherited => functions
            .iter()
            .map(|function| &function.vis)
            .max_by_key(|visibility| rank(visibility))
            .cloned()
            .unwrap_or(Visibility::Inherited),
        named @ (Visibility::Restricted(_) | Visibility::Public(_)) => named,
    }
}

/// The type by which others call the actor.
struct Handle {
    name: Ident,
    visibility: Visibility,
}

impl Handle {
    fn define(&self, actor: &Ident) -> TokenStream {
        let Handle { name, visibility } = self;
        let doc =
            format!("Calls the methods of a [`{actor}`] in its actor. Clones call the same actor.");
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug)]
            #visibility struct #name {
                portal: ::runtime::Portal,
            }
        }
    }

    fn implement(&self, methods: &[Method<'_>]) -> TokenStream {
        let name = &self.name;
        let methods = methods.iter().map(Method::on_handle);
        quote! {
            impl #name {
                #(#methods)*
            }

            impl ::core::convert::From<::runtime::Portal> for #name {
                fn from(portal: ::runtime::Portal) -> Self {
                    Self { portal }
                }
            }

            /// As its portal: between actors.
            impl ::runtime::__private::serde::Serialize for #name {
                fn serialize<S: ::runtime::__private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    ::runtime::__private::serde::Serialize::serialize(&self.portal, serializer)
                }
            }

            impl<'de> ::runtime::__private::serde::Deserialize<'de> for #name {
                fn deserialize<D: ::runtime::__private::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    let portal = ::runtime::__private::serde::Deserialize::deserialize(deserializer)?;
                    ::core::result::Result::Ok(Self { portal })
                }
            }

            impl ::core::ops::Deref for #name {
                type Target = ::runtime::Portal;
                fn deref(&self) -> &::runtime::Portal {
                    &self.portal
                }
            }
        }
    }
}

/// A method that can be called from afar.
struct Method<'a> {
    actor: &'a Ident,
    function: &'a ImplItemFn,
    role: Role,
    shape: Shape,
    /// Stands for the method where a type is needed.
    marker: Ident,
    is_exclusive: IsExclusive,
}

/// How a method is used from afar.
enum Role {
    Call,
    /// It is linked with whoever uses it, and given this first.
    Linked {
        kind: Kind,
        first: Box<Type>,
    },
}

/// Whether the method needs the state for itself.
enum IsExclusive {
    No,
    Yes,
}

/// What every handle has from its portal. A method of the same name would be in its way, and nobody would be told.
const NAMES_OF_THE_PORTAL: [&str; 10] = [
    "call",
    "cancel",
    "cancel_within",
    "context",
    "id",
    "kill",
    "name",
    "stream",
    "teardown",
    "wait_ended",
];

fn refuse_portals_name(name: &Ident) -> Result<()> {
    if !NAMES_OF_THE_PORTAL.iter().any(|known| name == known) {
        return Ok(());
    }
    let why = format!(
        "every actor's handle has a `{name}` already, that of its portal: give the method another name"
    );
    Err(Error::new_spanned(name, why))
}

impl<'a> Method<'a> {
    /// `None` for a function that is not called from afar.
    fn of(actor: &'a Ident, function: &'a ImplItemFn) -> Result<Option<Method<'a>>> {
        let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() else { return Ok(None) };
        if function.sig.asyncness.is_none() {
            return Ok(None);
        }
        refuse_portals_name(&function.sig.ident)?;
        let (role, shape) = match function.attrs.iter().find_map(Kind::of) {
            None => (Role::Call, Shape::of(&function.sig)?),
            Some(kind) => {
                let Linked { first, shape } = Shape::of_linked(&function.sig, kind.first())?;
                (Role::Linked { kind, first: Box::new(first) }, shape)
            }
        };
        Ok(Some(Method {
            actor,
            function,
            role,
            shape,
            marker: format_ident!("Method_{}", function.sig.ident),
            is_exclusive: IsExclusive::of(receiver)?,
        }))
    }

    fn on_handle(&self) -> TokenStream {
        let Method { function, shape, marker, .. } = self;
        let (name, visibility) = (&function.sig.ident, &function.vis);
        let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
        let (parameters, tuple) = (shape.parameters(), shape.args_tuple());
        let (output, error) = (shape.output_type(), shape.error_type());
        match &self.role {
            Role::Call => quote! {
                #(#docs)*
                #visibility async fn #name(
                    &self, #parameters
                ) -> ::core::result::Result<#output, ::runtime::CallError<#error>> {
                    self.portal.invoke::<#marker>(#tuple).await
                }
            },
            Role::Linked { kind, first } => {
                // The marker may be less visible than the method.
                let function = kind.opaque(&quote!(#first), shape);
                let (returned, open) = match kind {
                    Kind::Context => (quote!(Opening<'_, #function>), quote!(context)),
                    Kind::Stream => (quote!(Listening<#function>), quote!(stream)),
                };
                quote! {
                    #(#docs)*
                    #visibility fn #name(&self, #parameters) -> ::runtime::#returned {
                        self.portal.#open::<#marker>(#tuple)
                    }
                }
            }
        }
    }

    fn implement(&self) -> TokenStream {
        let Method { actor, function, shape, marker, .. } = self;
        let name = &function.sig.ident;
        let args_type = shape.args_type();
        let (output, error) = (shape.output_type(), shape.error_type());
        let run = match &self.role {
            Role::Call => self.run_call(),
            Role::Linked { kind, first } => self.run_linked(*kind, &quote!(#first)),
        };
        let entry = match &self.role {
            Role::Call => quote!(method),
            Role::Linked { .. } => quote!(method_context),
        };
        let fingerprint = fingerprint();
        quote! {
            #[allow(non_camel_case_types, reason = "it goes by the method's name")]
            struct #marker {}

            impl ::runtime::Remote for #marker {
                const NAME: &'static str = ::core::concat!(
                    ::core::module_path!(), "::", ::core::stringify!(#actor), "::", ::core::stringify!(#name),
                    "@", ::core::line!(), ":", ::core::column!()
                );
                type Args = #args_type;
                type Output = #output;
                type Error = #error;
                #fingerprint
            }

            #run

            const _: () = {
                #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ENTRIES)]
                #[linkme(crate = ::runtime::__private::linkme)]
                static ENTRY: ::runtime::__private::Entry = ::runtime::__private::Entry::#entry::<#marker>();
            };
        }
    }
}

impl Method<'_> {
    fn run_call(&self) -> TokenStream {
        let Method { actor, function, shape, marker, .. } = self;
        let name = &function.sig.ident;
        let (args_type, tuple, names) = (shape.args_type(), shape.args_tuple(), shape.names());
        let (output, error) = (shape.output_type(), shape.error_type());
        let lock = self.is_exclusive.lock();
        let result = shape.as_result(&quote!(state.#name(#(#names),*).await));
        quote! {
            impl ::runtime::__private::Method for #marker {
                type Actor = #actor;
                fn run(
                    state: ::runtime::__private::State<#actor>,
                    #tuple: #args_type,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<#output, #error>> + 'static {
                    async move {
                        #lock
                        #result
                    }
                }
            }
        }
    }

    fn run_linked(&self, kind: Kind, first: &TokenStream) -> TokenStream {
        let Method { actor, function, shape, marker, .. } = self;
        let name = &function.sig.ident;
        let (args_type, tuple, names) = (shape.args_type(), shape.args_tuple(), shape.names());
        let (output, error) = (shape.output_type(), shape.error_type());
        let lock = self.is_exclusive.lock();
        let result = shape.as_result(&quote!(state.#name(first, #(#names),*).await));
        let types = kind.implement_types(&quote!(#marker), first);
        let first = kind.first_argument(first);
        quote! {
            #types

            impl ::runtime::__private::MethodContext for #marker {
                type Actor = #actor;
                fn run(
                    state: ::runtime::__private::State<#actor>,
                    seed: ::runtime::__private::Seed,
                    #tuple: #args_type,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<#output, #error>> + 'static {
                    async move {
                        #lock
                        let first = #first;
                        #result
                    }
                }
            }
        }
    }
}

impl IsExclusive {
    fn lock(&self) -> TokenStream {
        match self {
            IsExclusive::No => quote!(let state = state.read().await;),
            IsExclusive::Yes => quote!(let mut state = state.write().await;),
        }
    }

    fn of(receiver: &Receiver) -> Result<IsExclusive> {
        match (&receiver.reference, &receiver.mutability) {
            (Some(_), None) => Ok(IsExclusive::No),
            (Some(_), Some(_)) => Ok(IsExclusive::Yes),
            (None, _) => Err(Error::new_spanned(
                receiver,
                "the actor keeps its state: take `&self` or `&mut self`",
            )),
        }
    }
}

/// How the state is made.
enum Constructor<'a> {
    Default,
    New { function: &'a ImplItemFn, shape: Box<Shape> },
}

impl<'a> Constructor<'a> {
    fn of(functions: &[&'a ImplItemFn]) -> Result<Constructor<'a>> {
        match functions
            .iter()
            .find(|function| function.sig.ident == "new" && function.sig.receiver().is_none())
        {
            None => Ok(Constructor::Default),
            Some(function) => {
                Ok(Constructor::New { function, shape: Box::new(Shape::of(&function.sig)?) })
            }
        }
    }

    fn implement(&self, actor: &Ident, handle: &Ident, methods: &[Method<'_>]) -> TokenStream {
        let markers = methods.iter().map(|method| &method.marker);
        let (init, pattern) = match self {
            Constructor::Default => (quote!(()), quote!(())),
            Constructor::New { shape, .. } => (shape.args_type(), shape.args_tuple()),
        };
        let (error, construct) = (self.error_type(), self.construct(actor));
        quote! {
            impl ::runtime::Actor for #actor {
                const NAME: &'static str = ::core::concat!(
                    ::core::module_path!(), "::", ::core::stringify!(#actor), "@", ::core::line!(), ":", ::core::column!()
                );
                type Init = #init;
                type InitError = #error;
                type Handle = #handle;
                const METHODS: &'static [&'static str] = &[#(<#markers as ::runtime::Remote>::NAME),*];
                fn construct(
                    #pattern: #init,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<Self, #error>> + 'static {
                    async move { #construct }
                }
            }

            #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ENTRIES)]
            #[linkme(crate = ::runtime::__private::linkme)]
            static ENTRY: ::runtime::__private::Entry = ::runtime::__private::Entry::constructor::<#actor>();
        }
    }

    fn error_type(&self) -> TokenStream {
        match self {
            Constructor::Default => quote!(::runtime::Never),
            // `Self` in its return type means the actor, as it does here.
            Constructor::New { shape, .. } => shape.error_type(),
        }
    }

    fn construct(&self, actor: &Ident) -> TokenStream {
        match self {
            Constructor::Default => {
                quote!(::core::result::Result::Ok(<#actor as ::core::default::Default>::default()))
            }
            Constructor::New { function, shape } => {
                let names = shape.names();
                let call = match function.sig.asyncness {
                    Some(_) => quote!(<#actor>::new(#(#names),*).await),
                    None => quote!(<#actor>::new(#(#names),*)),
                };
                shape.as_result(&call)
            }
        }
    }
}
