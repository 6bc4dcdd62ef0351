//! What of a function's signature decides how it is called from afar.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, PatType, Result, ReturnType, Signature, Type, TypePath};

/// A function's arguments after its receiver, and what it returns.
pub(crate) struct Shape {
    names: Vec<Ident>,
    types: Vec<Type>,
    place: Span,
    returned: Returned,
}

/// A function that is given its end of something first.
pub(crate) struct Linked {
    pub(crate) first: Type,
    pub(crate) shape: Shape,
}

enum Returned {
    Value(TokenStream),
    /// A `Result`, by whatever alias.
    Result(Type),
}

impl Shape {
    pub(crate) fn of(signature: &Signature) -> Result<Shape> {
        refuse_generics(signature)?;
        Shape::of_arguments(typed(signature), signature)
    }

    /// Of a function whose first parameter is not sent, and is what `first` says.
    pub(crate) fn of_linked(signature: &Signature, first: &str) -> Result<Linked> {
        refuse_generics(signature)?;
        let mut arguments = typed(signature);
        let Some(given) = arguments.next() else {
            return Err(Error::new_spanned(&signature.ident, first));
        };
        let shape = Shape::of_arguments(arguments, signature)?;
        Ok(Linked { first: (*given.ty).clone(), shape })
    }

    fn of_arguments<'a>(
        arguments: impl Iterator<Item = &'a PatType>,
        signature: &Signature,
    ) -> Result<Shape> {
        let types = arguments.map(owned_type).collect::<Result<Vec<_>>>()?;
        let names = (0..types.len()).map(|index| format_ident!("argument_{index}")).collect();
        let place = types.iter().map(Spanned::span).reduce(|all, one| all.join(one).unwrap_or(all));
        Ok(Shape {
            names,
            types,
            place: place.unwrap_or_else(Span::call_site),
            returned: Returned::of(&signature.output)?,
        })
    }

    /// The arguments' types, as a tuple.
    pub(crate) fn args_type(&self) -> TokenStream {
        let types = &self.types;
        // What the compiler says of the tuple is shown at the arguments.
        quote_spanned!(self.place=> (#(#types,)*))
    }

    /// The arguments as parameters, for a function that passes them on.
    pub(crate) fn parameters(&self) -> TokenStream {
        let (names, types) = (&self.names, &self.types);
        quote!(#(#names: #types),*)
    }

    /// The arguments as one tuple: a value, or a pattern.
    pub(crate) fn args_tuple(&self) -> TokenStream {
        let names = &self.names;
        quote!((#(#names,)*))
    }

    /// The arguments, to call with.
    pub(crate) fn names(&self) -> &[Ident] {
        &self.names
    }

    pub(crate) fn output_type(&self) -> TokenStream {
        match &self.returned {
            Returned::Value(value) => value.clone(),
            Returned::Result(result) => {
                quote_spanned!(result.span()=> <#result as ::runtime::__private::Fallible>::Output)
            }
        }
    }

    pub(crate) fn error_type(&self) -> TokenStream {
        match &self.returned {
            Returned::Value(_) => quote!(::runtime::Never),
            Returned::Result(result) => {
                quote_spanned!(result.span()=> <#result as ::runtime::__private::Fallible>::Error)
            }
        }
    }

    /// `call`, whose type is what the function returns, as a `Result`.
    pub(crate) fn as_result(&self, call: &TokenStream) -> TokenStream {
        match &self.returned {
            Returned::Value(_) => quote!(::core::result::Result::Ok(#call)),
            Returned::Result(_) => quote!(::runtime::__private::Fallible::into_result(#call)),
        }
    }
}

impl Returned {
    fn of(output: &ReturnType) -> Result<Returned> {
        match output {
            ReturnType::Default => Ok(Returned::Value(quote!(()))),
            ReturnType::Type(_, written)
                if matches!(**written, Type::ImplTrait(_) | Type::Reference(_)) =>
            {
                Err(Error::new_spanned(
                    written,
                    "a result is sent to another actor: give it an owned, named type",
                ))
            }
            ReturnType::Type(_, written) if is_result(written) => {
                Ok(Returned::Result((**written).clone()))
            }
            ReturnType::Type(_, written) => Ok(Returned::Value(quote!(#written))),
        }
    }
}

fn typed(signature: &Signature) -> impl Iterator<Item = &PatType> {
    signature.inputs.iter().filter_map(|input| match input {
        FnArg::Receiver(_) => None,
        FnArg::Typed(typed) => Some(typed),
    })
}

fn is_result(written: &Type) -> bool {
    let Type::Path(TypePath { path, .. }) = written else { return false };
    path.segments.last().is_some_and(|last| last.ident == "Result")
}

fn refuse_generics(signature: &Signature) -> Result<()> {
    if signature.generics.params.is_empty() {
        return Ok(());
    }
    let why = "what is called from another actor is found by its name, so it cannot be generic";
    Err(Error::new_spanned(&signature.generics, why))
}

fn owned_type(argument: &PatType) -> Result<Type> {
    if matches!(*argument.ty, Type::Reference(_) | Type::ImplTrait(_)) {
        let why = "an argument is sent to another actor: give it an owned, named type";
        return Err(Error::new_spanned(&argument.ty, why));
    }
    Ok((*argument.ty).clone())
}
