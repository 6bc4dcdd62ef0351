//! Publishing: one producer for each name in an actor, and subscribers that come and go.

use std::collections::BTreeSet;
use std::path::PathBuf;

use runner::{Case, TestResult};
use runtime::{CallError, Error, Nursery, Portal, Publisher, Sender, current, publish};
use tokio::task::JoinSet;

use crate::actors::pid;
use crate::process;

runner::marks! { timeout = "30s" }

/// Counts on every topic somebody wants, for as long as anybody does; says in a file when it ends.
async fn count_on_all(publisher: Publisher<u64>, ended: PathBuf) -> runtime::Result<()> {
    let _ended = Ended(ended);
    for number in 0.. {
        for topic in publisher.topics() {
            publisher.publish(&topic, number).await?;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(std::fs::write(&self.0, "ended"));
    }
}

#[runtime::stream]
async fn numbers(
    out: Sender<(String, u64)>,
    topics: Vec<String>,
    ended: PathBuf,
) -> runtime::Result<()> {
    publish("numbers", topics, out, async |publisher| count_on_all(publisher, ended).await).await
}

fn topics(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Reads so many items, which are of these topics only, and in each topic one after the other.
async fn read(
    publisher: &Portal,
    wanted: &[&str],
    ended: PathBuf,
    count: usize,
) -> runtime::Result<BTreeSet<String>> {
    let mut items = publisher.stream::<numbers>((topics(wanted), ended)).await?;
    let mut last = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..count {
        let Some((topic, number)) = items.recv().await? else { break };
        assert!(wanted.contains(&topic.as_str()), "{topic} was not subscribed to");
        let before = last.insert(topic, number);
        assert!(before.is_none_or(|before| number == before + 1), "{before:?}, then {number}");
    }
    Ok(last.into_keys().collect())
}

#[runner::test]
async fn a_subscription_needs_a_topic(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<numbers>().await?;
        let mut none = publisher.stream::<numbers>((vec![], ended.clone())).await?;
        match none.recv().await {
            Err(CallError::Returned(Error::Misuse(_), _)) => {}
            other => panic!("{other:?}"),
        }
        publisher.cancel().await
    })
    .await?;
    Ok(())
}

/// Of one producer in a child, to actors that are its siblings.
#[runtime::remote]
async fn subscribe(
    publisher: Portal,
    wanted: Vec<String>,
    ended: PathBuf,
) -> runtime::Result<usize> {
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    Ok(read(&publisher, &wanted, ended, 50).await?.len())
}

#[runner::test]
async fn actors_subscribe_to_a_sibling_and_leave(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<numbers>().expose::<pid>().await?;
        come_and_go(n, &publisher, &ended).await?;
        // The last has left: so does the producer; the actor stays.
        assert!(process::comes_true(|| ended.exists()), "the producer goes on");
        publisher.call::<pid>(()).await?;
        publisher.cancel().await
    })
    .await?;
    Ok(())
}

async fn come_and_go(
    n: &Nursery,
    publisher: &Portal,
    ended: &std::path::Path,
) -> runtime::Result<()> {
    let mut readers = JoinSet::new();
    for (number, wanted) in [&["even"][..], &["odd"], &["even", "odd"]].into_iter().enumerate() {
        let reader = n.actor(format!("reader-{number}")).expose::<subscribe>().await?;
        let arguments = (publisher.clone(), topics(wanted), ended.to_owned());
        readers.spawn_local(async move {
            let seen = reader.call::<subscribe>(arguments).await?;
            assert_eq!(seen, wanted.len());
            reader.cancel().await
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.map_err(Error::user)??;
    }
    Ok(())
}

/// Many tasks of one actor, each with topics of its own, none of which hears another's.
#[runner::test]
async fn tasks_subscribe_without_hearing_each_others_topics(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<numbers>().await?;
        let mut readers = JoinSet::new();
        for wanted in [&["a"][..], &["b"], &["c"], &["a", "c"], &["a"], &["b", "c", "d"]] {
            let (publisher, ended) = (publisher.clone(), ended.clone());
            readers.spawn_local(async move {
                let seen = read(&publisher, wanted, ended, 120).await?;
                assert!(seen.into_iter().eq(topics(wanted)), "{wanted:?}");
                Ok::<(), Error>(())
            });
        }
        while let Some(reader) = readers.join_next().await {
            reader.map_err(Error::user)??;
        }
        publisher.cancel().await
    })
    .await?;
    Ok(())
}

/// The parent publishes, its children subscribe: a context upwards.
#[runtime::remote]
async fn subscribe_above(wanted: Vec<String>, ended: PathBuf) -> runtime::Result<usize> {
    let parent = current()?.parent_portal().ok_or(Error::message("no parent"))?;
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    Ok(read(&parent, &wanted, ended, 30).await?.len())
}

#[runner::test]
async fn children_subscribe_to_their_parent(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::nursery(async |n| {
        for wanted in [&["a"][..], &["a", "b"]] {
            let arguments = (topics(wanted), ended.clone());
            let child = n.run_in_actor::<subscribe_above>("child", arguments).offer::<numbers>();
            assert_eq!(child.await?.await?, wanted.len());
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[runtime::stream]
async fn doomed(out: Sender<(String, u64)>, topic: String) -> runtime::Result<()> {
    publish("doomed", [topic], out, async |publisher: Publisher<u64>| {
        while publisher.topics().len() < 2 {
            publisher.wait_changed().await;
        }
        Err(Error::message("no more"))
    })
    .await
}

#[runner::test]
async fn a_producer_that_fails_fails_every_subscription() -> TestResult {
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<doomed>().await?;
        let mut one = publisher.stream::<doomed>(("a".to_owned(),)).await?;
        let mut other = publisher.stream::<doomed>(("b".to_owned(),)).await?;
        for reader in [&mut one, &mut other] {
            let told = reader.recv().await.expect_err("it fails");
            assert!(told.to_string().contains("no more"), "{told}");
        }
        publisher.cancel().await
    })
    .await?;
    Ok(())
}

/// Tells the one that is left when the other has gone.
#[runtime::stream]
async fn tell_who_is_left(out: Sender<(String, u64)>, topic: String) -> runtime::Result<()> {
    publish("left", [topic], out, async |publisher: Publisher<u64>| {
        for count in [2, 1] {
            while publisher.topics().len() != count {
                publisher.wait_changed().await;
            }
        }
        for topic in publisher.topics() {
            assert_eq!(publisher.publish(&topic, 1).await?, 1);
        }
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_producer_hears_who_comes_and_who_goes() -> TestResult {
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<tell_who_is_left>().await?;
        let mut stays = publisher.stream::<tell_who_is_left>(("stays".to_owned(),)).await?;
        let goes = publisher.stream::<tell_who_is_left>(("goes".to_owned(),)).await?;
        goes.cancel().await?;
        assert_eq!(stays.recv().await?, Some(("stays".to_owned(), 1)));
        assert_eq!(stays.recv().await?, None);
        publisher.cancel().await
    })
    .await?;
    Ok(())
}

/// Subscribes, leaves, and subscribes again before the first producer has ended.
#[runtime::stream]
async fn come_back(out: Sender<(String, u64)>) -> runtime::Result<()> {
    {
        let endless = async |_: Publisher<u64>| std::future::pending().await;
        let first = publish("again", ["a".to_owned()], out.clone(), endless);
        tokio::select! {
            biased;
            ended = first => return ended,
            () = std::future::ready(()) => {}
        }
    }
    publish("again", ["a".to_owned()], out, async |publisher: Publisher<u64>| {
        publisher.publish("a", 7).await.map(drop)
    })
    .await
}

#[runner::test]
async fn who_comes_after_the_last_has_gone_has_a_producer_of_their_own() -> TestResult {
    runtime::nursery(async |n| {
        let publisher = n.actor("publisher").expose::<come_back>().await?;
        let mut items = publisher.stream::<come_back>(()).await?;
        assert_eq!(items.recv().await?, Some(("a".to_owned(), 7)));
        assert_eq!(items.recv().await?, None);
        publisher.cancel().await
    })
    .await?;
    Ok(())
}
