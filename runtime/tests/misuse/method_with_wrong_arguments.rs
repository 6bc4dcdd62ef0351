#[derive(Default)]
struct Counter;

#[runtime::actor]
impl Counter {
    async fn add(&mut self, n: u64) -> u64 {
        n
    }
}

async fn call(counter: CounterHandle) -> runtime::Result<()> {
    counter.add("two").await?;
    counter.subtract(1).await?;
    Ok(())
}

fn main() {}
