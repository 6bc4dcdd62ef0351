struct Counter;

async fn start(n: &runtime::Nursery) -> runtime::Result<()> {
    n.start::<Counter>("counter").await?;
    Ok(())
}

fn main() {}
