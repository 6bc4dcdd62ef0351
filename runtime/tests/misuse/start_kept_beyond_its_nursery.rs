#[derive(Default)]
struct Counter;

#[runtime::actor]
impl Counter {
    async fn total(&self) -> u64 {
        0
    }
}

async fn detach() -> runtime::Result<()> {
    let counter = runtime::nursery(async |n| Ok(n.start::<Counter>("counter"))).await?;
    counter.await?;
    Ok(())
}

fn main() {}
