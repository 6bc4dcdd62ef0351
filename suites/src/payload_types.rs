//! Values of other types than the other side knows: refused where they are met, and nobody is hurt.
//!
//! Within one program the compiler sees to it. Two programs that were built from other sources can
//! still disagree; here one of them is a declaration by hand.

use std::path::PathBuf;

use runner::{Case, TestResult};
use runtime::{CallError, Context, ContextFunction, Error, Nursery, Portal, Remote};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

runner::marks! { timeout = "20s" }

/// Starts with 1, sends back what comes plus one, and returns a thousand more than that were.
///
/// The bytes do not say what they are of: a small number might pass for something that is empty.
#[runtime::context]
async fn increment(cx: Context<u32, u32, u32>) -> runtime::Result<u32> {
    let mut stream = cx.started(1).await?.open_stream()?;
    let mut count = 1000;
    while let Some(number) = stream.recv().await? {
        stream.send(number + 1).await?;
        count += 1;
    }
    Ok(count)
}

/// [`increment`] as a program knows it that was built from other sources.
macro_rules! misunderstanding {
    ($name:ident: starts $started:ty, sends $sends:ty, receives $receives:ty, returns $output:ty) => {
        struct $name;

        impl Remote for $name {
            const NAME: &'static str = <increment as Remote>::NAME;
            type Args = ();
            type Output = $output;
            type Error = Error;
        }

        impl ContextFunction for $name {
            type Started = $started;
            /// What the function receives.
            type Receives = $sends;
            /// What the function sends.
            type Sends = $receives;
        }
    };
}

misunderstanding!(AsItIs: starts u32, sends u32, receives u32, returns u32);
misunderstanding!(OtherStart: starts Vec<String>, sends u32, receives u32, returns u32);
misunderstanding!(OtherItemOut: starts u32, sends Vec<String>, receives u32, returns u32);
misunderstanding!(OtherItemIn: starts u32, sends u32, receives Vec<String>, returns u32);
misunderstanding!(OtherValue: starts u32, sends u32, receives u32, returns Vec<String>);

/// An actor that serves [`increment`], and afterwards still does.
async fn with_actor(body: impl AsyncFnOnce(&Portal) -> runtime::Result<()>) -> TestResult {
    runtime::nursery(async |n: &Nursery| {
        let actor = n.actor("actor").expose::<increment>().await?;
        body(&actor).await?;
        let opened = actor.context::<increment>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            stream.send(*cx.first()).await?;
            assert_eq!(stream.recv().await?, Some(2));
            stream.close();
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, 1001);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// What was of the wrong type.
fn wrong<T: std::fmt::Debug>(outcome: Result<T, CallError<Error>>) -> String {
    match outcome {
        Err(
            CallError::Failed(Error::WrongType { what, .. })
            | CallError::Returned(Error::WrongType { what, .. }, _),
        ) => what,
        other => panic!("{other:?}"),
    }
}

#[runner::test]
async fn what_is_of_the_right_type_passes() -> TestResult {
    with_actor(async |actor| {
        let opened = actor.context::<AsItIs>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            stream.send(*cx.first()).await?;
            assert_eq!(stream.recv().await?, Some(2));
            stream.close();
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, 1001);
        Ok(())
    })
    .await
}

/// Whatever of it is another type, before anything of it is begun.
#[runner::test]
async fn a_function_of_other_types_is_refused_at_once() -> TestResult {
    async fn refuse<C: ContextFunction<Args = (), Error = Error>>(actor: &Portal) {
        let body = async |_| -> runtime::Result<()> { panic!("it started") };
        let what = wrong(actor.context::<C>(()).open(body).await);
        assert!(what.contains("increment"), "{what}");
    }
    with_actor(async |actor| {
        refuse::<OtherStart>(actor).await;
        refuse::<OtherItemOut>(actor).await;
        refuse::<OtherItemIn>(actor).await;
        refuse::<OtherValue>(actor).await;
        Ok(())
    })
    .await
}

/// Twice as much.
#[runtime::remote]
async fn double(number: u32) -> u32 {
    2 * number
}

/// [`double`] as other programs know it.
macro_rules! mistake {
    ($name:ident: takes $args:ty, returns $output:ty) => {
        struct $name;

        impl Remote for $name {
            const NAME: &'static str = <double as Remote>::NAME;
            type Args = $args;
            type Output = $output;
            type Error = <double as Remote>::Error;
        }
    };
}

mistake!(AsItIsCalled: takes (u32,), returns u32);
mistake!(OtherArguments: takes (u64,), returns u32);
mistake!(OtherReturn: takes (u32,), returns u64);

/// The bytes of a small number are the same, whatever its type: only the names tell.
#[runner::test]
async fn a_call_of_other_types_is_refused() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<double>().await?;
        assert_eq!(actor.invoke::<AsItIsCalled>((4,)).await?, 8);
        let told = [
            actor.invoke::<OtherArguments>((4,)).await.map(u64::from).map_err(Error::from),
            actor.invoke::<OtherReturn>((4,)).await.map_err(Error::from),
        ];
        for told in told {
            assert!(matches!(told, Err(Error::WrongType { .. })), "{told:?}");
        }
        assert_eq!(actor.call::<double>((4,)).await?, 8);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// A value that is refused by its own type, on one of the two sides.
#[derive(Debug, PartialEq)]
struct Fickle(Refuses);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Refuses {
    Never,
    ToBeSent,
    ToBeReceived,
}

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Refuses::ToBeSent => Err(S::Error::custom("it stays")),
            Refuses::Never | Refuses::ToBeReceived => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Refuses::deserialize(deserializer)? {
            Refuses::ToBeReceived => Err(D::Error::custom("it does not come")),
            sent => Ok(Fickle(sent)),
        }
    }
}

/// Starts, sends and returns something fickle.
#[runtime::context]
async fn be_fickle(
    cx: Context<Fickle, u32, Fickle>,
    start: Refuses,
    item: Refuses,
    value: Refuses,
) -> runtime::Result<Fickle> {
    let stream = cx.started(Fickle(start)).await?.open_stream()?;
    stream.send(Fickle(item)).await?;
    Ok(Fickle(value))
}

fn is_deserialisable<T: DeserializeOwned>() {}

/// What cannot be sent is the sender's error, what cannot be received the receiver's; and the actor
/// goes on either way. Between threads a value moves, and neither is asked.
#[runner::test]
#[needs("process")]
async fn a_value_that_refuses_is_an_error_where_it_does() -> TestResult {
    use Refuses::{Never, ToBeReceived, ToBeSent};
    is_deserialisable::<Fickle>();
    let open = async |actor: &Portal, args: (Refuses, Refuses, Refuses)| {
        let opened = actor.context::<be_fickle>(args).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let item = stream.recv().await?;
            Ok((item, cx.result().await?))
        });
        opened.await
    };
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<be_fickle>().await?;
        for at in 0..3 {
            let refusing = |how| {
                let mut all = [Never; 3];
                all[at] = how;
                (all[0], all[1], all[2])
            };
            match open(&actor, refusing(ToBeSent)).await {
                Err(
                    CallError::Returned(Error::Unsendable { .. }, _)
                    | CallError::Failed(Error::Unsendable { .. }),
                ) => {}
                other => panic!("{at}: {other:?}"),
            }
            match open(&actor, refusing(ToBeReceived)).await {
                Err(CallError::Failed(Error::WrongType { .. })) => {}
                other => panic!("{at}: {other:?}"),
            }
            let whole = open(&actor, (Never, Never, Never)).await?;
            assert_eq!(whole, (Some(Fickle(Never)), Fickle(Never)));
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Starts with what cannot be received, and says in a file when it has ended.
#[runtime::context]
async fn start_fickly(cx: Context<Fickle>, ended: PathBuf) -> runtime::Result<()> {
    let _ended = Ended(ended);
    let _cx = cx.started(Fickle(Refuses::ToBeReceived)).await?;
    std::future::pending().await
}

struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(std::fs::write(&self.0, "ended"));
    }
}

/// An opener that cannot go on ends what it has opened, and returns after that.
#[runner::test]
#[needs("process")]
async fn a_start_that_is_refused_ends_the_function(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<start_fickly>().await?;
        let opening = actor.context::<start_fickly>((ended.clone(),));
        match opening.open(async |_| -> runtime::Result<()> { panic!("it started") }).await {
            Err(CallError::Failed(Error::WrongType { .. })) => assert!(ended.exists()),
            other => panic!("{other:?}"),
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}
