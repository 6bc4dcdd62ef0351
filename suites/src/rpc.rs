//! Calls: what goes in and comes back, typed; what is not served; panics; many at once; large ones.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use runner::TestResult;
use runtime::{CallError, Error};
use serde::de::Visitor;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::actors::{Refused, identity, pid, refuse};

runner::marks! { timeout = "20s" }

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    Unit,
    Pair(i64, Option<String>),
    Named { numbers: Vec<u16>, at: (f64, char) },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Whole {
    parts: Vec<Part>,
    by_name: BTreeMap<String, Part>,
    outcome: Result<u8, Refused>,
}

#[runtime::remote]
async fn swap(first: Whole, second: bool) -> (bool, Whole) {
    (second, first)
}

#[runner::test]
async fn structured_values_come_back_as_they_went() -> TestResult {
    let whole = Whole {
        parts: vec![
            Part::Unit,
            Part::Pair(i64::MIN, Some("ünïcödé\0".to_owned())),
            Part::Named { numbers: vec![0, u16::MAX], at: (-0.5, '☂') },
        ],
        by_name: BTreeMap::from([("none".to_owned(), Part::Pair(0, None))]),
        outcome: Err(Refused(3)),
    };
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<swap>().await?;
        let swapped = actor.call::<swap>((whole.clone(), true)).await?;
        assert_eq!(swapped, (true, whole));
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn an_error_comes_back_as_the_functions_own_value() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<refuse>().expose::<pid>().await?;
        match actor.call::<refuse>((42,)).await {
            Err(CallError::Returned(Refused(42), remote)) => {
                assert_eq!(remote.source_actor(), actor.id());
                assert_eq!(remote.message(), "refused-42");
                assert_eq!(remote.downcast::<Refused>(), Some(Refused(42)));
                assert!(!remote.is_panic());
            }
            other => panic!("{other:?}"),
        }
        actor.call::<pid>(()).await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn an_error_passed_on_with_a_question_mark_keeps_its_value() -> TestResult {
    let outcome = runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<refuse>().await?;
        actor.call::<refuse>((5,)).await?;
        Ok(())
    })
    .await;
    match outcome {
        Err(Error::Remote(remote)) => assert_eq!(remote.downcast::<Refused>(), Some(Refused(5))),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// State, and functions that are there but not of it.
#[derive(Default)]
struct Door {
    visitors: u64,
    /// How many are in [`Door::stay_inside`].
    inside: Rc<Cell<u64>>,
    left: Rc<Notify>,
    opened: Notify,
}

/// Counts its holder out, however it leaves.
struct Inside(Rc<Cell<u64>>, Rc<Notify>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        self.1.notify_one();
    }
}

#[runtime::actor]
impl Door {
    async fn enter(&mut self) -> u64 {
        self.visitors += 1;
        self.visitors
    }

    async fn enter_and_trip(&mut self) -> u64 {
        self.visitors += 1;
        panic!("tripped as visitor {}", self.visitors)
    }

    /// Enters in two steps, with others given the chance to come between.
    async fn enter_slowly(&mut self) -> u64 {
        let before = self.visitors;
        tokio::task::yield_now().await;
        self.visitors = before + 1;
        self.visitors
    }

    async fn wait_open(&self) -> u64 {
        self.opened.notified().await;
        self.visitors
    }

    async fn open(&self) {
        self.opened.notify_one();
    }

    async fn stay_inside(&self) {
        self.inside.set(self.inside.get() + 1);
        let _inside = Inside(Rc::clone(&self.inside), Rc::clone(&self.left));
        self.opened.notify_one();
        std::future::pending::<()>().await;
    }

    async fn wait_left(&self) -> u64 {
        self.left.notified().await;
        self.inside.get()
    }
}

#[runner::test]
async fn what_is_not_exposed_is_not_served() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let door = n.start::<Door>("door").await?;
        for portal in [&actor, &*door] {
            match portal.call::<identity>(()).await {
                Err(CallError::Failed(Error::NotExposed { actor, function })) => {
                    assert_eq!(&actor, portal.id());
                    assert!(function.ends_with("identity"), "{function}");
                }
                other => panic!("{other:?}"),
            }
        }
        actor.call::<pid>(()).await?;
        assert_eq!(door.enter().await?, 1);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_panic_is_an_error_with_its_place_and_the_actor_goes_on() -> TestResult {
    runtime::nursery(async |n| {
        let door = n.start::<Door>("door").await?;
        assert_eq!(door.enter().await?, 1);
        for visitor in 2..5 {
            match door.enter_and_trip().await {
                Err(CallError::Failed(Error::Remote(remote))) => {
                    assert!(remote.is_panic());
                    assert_eq!(remote.message(), format!("tripped as visitor {visitor}"));
                    assert_eq!(remote.source_actor(), door.id());
                    let place = remote.location().map(|place| (&*place.file, place.line > 0));
                    assert!(matches!(place, Some((file, true)) if file.ends_with("rpc.rs")));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(door.enter().await?, 5);
        door.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_call_that_waits_keeps_no_other_waiting() -> TestResult {
    runtime::nursery(async |n| {
        let door = n.start::<Door>("door").await?;
        let (waited, opened) = tokio::join!(door.wait_open(), async {
            for _ in 0..10 {
                door.open().await?;
            }
            door.open().await
        });
        opened?;
        assert_eq!(waited?, 0);
        door.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn calls_that_change_the_state_run_one_at_a_time() -> TestResult {
    const COUNT: u64 = 50;
    runtime::nursery(async |n| {
        let door = n.start::<Door>("door").await?;
        let mut calls = JoinSet::new();
        for _ in 0..COUNT {
            let door = door.clone();
            calls.spawn_local(async move { door.enter_slowly().await });
        }
        let mut totals = Vec::new();
        while let Some(total) = calls.join_next().await {
            totals.push(total.map_err(Error::user)??);
        }
        totals.sort_unstable();
        assert_eq!(totals, (1..=COUNT).collect::<Vec<_>>());
        door.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_dropped_call_ends_where_it_runs() -> TestResult {
    runtime::nursery(async |n| {
        let door = n.start::<Door>("door").await?;
        tokio::select! {
            outcome = door.stay_inside() => panic!("{outcome:?}"),
            // It is inside then.
            outcome = door.wait_open() => drop(outcome?),
        }
        assert_eq!(door.wait_left().await?, 0);
        door.cancel().await
    })
    .await?;
    Ok(())
}

/// Bytes that are sent as bytes: as a sequence of numbers they would measure the serialiser.
#[derive(Clone, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }
}

impl Blob {
    /// Bytes of which no stretch looks like another.
    fn noise(count: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let words = (0..count.div_ceil(8)).flat_map(|_| next().to_le_bytes());
        Self(words.take(count).collect())
    }

    fn reversed(mut self) -> Self {
        self.0.reverse();
        self
    }
}

#[runtime::remote]
async fn reverse(blob: Blob) -> Blob {
    blob.reversed()
}

#[runner::test]
async fn payloads_of_many_megabytes_come_back_whole() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<reverse>().await?;
        for megabytes in [1, 9] {
            let blob = Blob::noise((megabytes << 20) + 1);
            let back = actor.call::<reverse>((blob.clone(),)).await?;
            assert!(back.reversed() == blob, "{megabytes} MiB came back changed");
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Both sides have more to write than any buffer between them takes.
#[runner::test]
async fn large_payloads_in_both_directions_do_not_block_each_other() -> TestResult {
    const BYTES: usize = 4 << 20;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<reverse>().await?;
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let actor = actor.clone();
            calls.spawn_local(async move { actor.call::<reverse>((Blob(vec![7; BYTES]),)).await });
        }
        while let Some(back) = calls.join_next().await {
            assert_eq!(back.map_err(Error::user)??.0.len(), BYTES);
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn enlarge(bytes: usize) -> Blob {
    Blob(vec![0; bytes])
}

/// Between threads a value moves, and no frame has to hold it.
#[runner::test]
#[needs("process")]
async fn a_payload_no_frame_holds_is_refused_and_the_actor_goes_on() -> TestResult {
    const TOO_LARGE: usize = runtime::FRAME_LIMIT_BYTES;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<reverse>().expose::<enlarge>().await?;
        let outcome = actor.call::<reverse>((Blob(vec![0; TOO_LARGE]),)).await;
        assert!(matches!(outcome.err(), Some(CallError::Failed(Error::Unsendable { .. }))));
        let outcome = actor.call::<enlarge>((TOO_LARGE,)).await;
        assert!(matches!(outcome.err(), Some(CallError::Failed(Error::Unsendable { .. }))));
        assert_eq!(actor.call::<reverse>((Blob(vec![1, 2]),)).await?.0, [2, 1]);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// A value that does not want to be sent.
#[derive(Debug, Deserialize)]
struct Homebody(bool);

impl Serialize for Homebody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => Err(S::Error::custom("I stay here")),
            false => false.serialize(serializer),
        }
    }
}

#[runtime::remote]
async fn homebody(stays: bool) -> Homebody {
    Homebody(stays)
}

#[runtime::remote]
async fn visit(_host: Homebody) {}

/// Between threads a value moves, and nobody asks it to be serialised.
#[runner::test]
#[needs("process")]
async fn a_value_that_cannot_be_serialised_is_an_error_and_the_actor_goes_on() -> TestResult {
    let reason_of = |error| match error {
        CallError::Failed(Error::Unsendable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<homebody>().expose::<visit>().await?;
        let Err(as_result) = actor.call::<homebody>((true,)).await else { panic!("it was sent") };
        let Err(as_argument) = actor.call::<visit>((Homebody(true),)).await else {
            panic!("it was sent")
        };
        for reason in [reason_of(as_result), reason_of(as_argument)] {
            assert!(!reason.is_empty());
        }
        assert!(!actor.call::<homebody>((false,)).await?.0);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_call_to_an_actor_that_was_cancelled_says_by_whom() -> TestResult {
    let own = runtime::current()?.id().clone();
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        actor.cancel().await?;
        match actor.call::<pid>(()).await {
            Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
                assert_eq!((&subject, &canceller), (actor.id(), &own));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await?;
    Ok(())
}
