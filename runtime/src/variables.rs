//! Runtime variables: typed values that are set for an actor and handed down to all below it.
//!
//! A record is made before its actor and never changes; a child's is its parent's with what the child was given put over it. There
//! is at most one value of a type. Values are kept as bytes, so that actors in one process share nothing through them.
//!
//! Carried by `msg`; set through `supervise` and `boot`, read through `actor`.

use std::any::type_name;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Values of different types, at most one of each, for a root and all of its tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Variables {
    /// By the name of the type.
    values: BTreeMap<String, Vec<u8>>,
    /// The first value that cannot be handed down, and why: told where an actor is started with it.
    #[serde(skip)]
    refused: Option<(String, String)>,
}

impl Variables {
    /// None.
    pub fn new() -> Variables {
        Variables::default()
    }

    /// With `value` added, in place of the one of the same type, if there is one.
    pub fn with<T: Serialize + DeserializeOwned + 'static>(mut self, value: &T) -> Variables {
        match postcard::to_stdvec(value) {
            Ok(bytes) => drop(self.values.insert(type_name::<T>().to_owned(), bytes)),
            Err(error) => {
                self.refused
                    .get_or_insert_with(|| (type_name::<T>().to_owned(), error.to_string()));
            }
        }
        self
    }

    /// These, and over them `other`'s.
    pub(crate) fn overlaid(&self, other: Variables) -> Result<Variables> {
        let mut values = self.values.clone();
        values.extend(other.values);
        Variables { values, refused: other.refused }.checked()
    }

    /// Whether all of them can be handed down.
    pub(crate) fn checked(self) -> Result<Variables> {
        match self.refused {
            None => Ok(self),
            Some((name, reason)) => {
                Err(Error::Unsendable { what: format!("the variable {name}"), reason })
            }
        }
    }

    /// The value of type `T`, if there is one.
    pub(crate) fn get<T: DeserializeOwned + 'static>(&self) -> Result<Option<T>> {
        let name = type_name::<T>();
        let value = self.values.get(name).map(|bytes| postcard::from_bytes(bytes));
        value.transpose().map_err(|error| Error::Unsendable {
            what: format!("the variable {name}"),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Depth(u32);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Colour(String);

    /// Serialises as nothing the format knows.
    #[derive(Deserialize)]
    struct Stubborn;

    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it does not want to"))
        }
    }

    #[test]
    fn there_is_one_of_each_type_and_the_lower_goes_over_the_upper() {
        let upper = Variables::new().with(&Depth(0)).with(&Colour("red".to_owned()));
        let lower = upper.overlaid(Variables::new().with(&Depth(1)).with(&Depth(2))).unwrap();
        assert_eq!(lower.get::<Depth>().unwrap(), Some(Depth(2)));
        assert_eq!(lower.get::<Colour>().unwrap(), Some(Colour("red".to_owned())));
        assert_eq!(upper.get::<Depth>().unwrap(), Some(Depth(0)));
        assert_eq!(upper.get::<u8>().unwrap(), None);
    }

    #[test]
    fn one_that_cannot_be_handed_down_is_refused_by_name() {
        let refused = Variables::new().with(&Stubborn).checked().unwrap_err().to_string();
        assert!(refused.contains("Stubborn"), "{refused}");
    }
}
