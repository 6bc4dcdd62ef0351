#[derive(Default)]
struct Counter;

#[runtime::actor]
impl Counter {
    async fn total(&self) -> u64 {
        0
    }
}

async fn detach(n: &runtime::Nursery) -> runtime::Result<()> {
    n.start::<Counter>("counter").await?.detach();
    runtime::Nursery::open()?.detach();
    Ok(())
}

fn main() {}
