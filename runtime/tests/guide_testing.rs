//! The program of the guide's chapter on testing.

// guide: tests
use runtime::{CallError, Error};

#[derive(Default)]
struct Stack(Vec<u32>);

#[runtime::actor]
impl Stack {
    async fn push(&mut self, value: u32) {
        self.0.push(value);
    }

    async fn pop(&mut self) -> Option<u32> {
        self.0.pop()
    }
}

#[runtime::test]
async fn what_was_pushed_last_is_popped_first() -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let stack = n.start::<Stack>("stack").await?;
        stack.push(1).await?;
        stack.push(2).await?;
        assert_eq!((stack.pop().await?, stack.pop().await?), (Some(2), Some(1)));
        stack.cancel().await
    })
    .await
}

#[runtime::test(backend = "thread")]
async fn who_is_cancelled_answers_no_more() -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let stack = n.start::<Stack>("stack").await?;
        stack.cancel().await?;
        let late = stack.pop().await;
        assert!(matches!(late, Err(CallError::Failed(Error::Cancelled { .. }))));
        assert!(stack.teardown().is_some_and(|teardown| !teardown.is_forced()));
        Ok(())
    })
    .await
}
// guide: end
