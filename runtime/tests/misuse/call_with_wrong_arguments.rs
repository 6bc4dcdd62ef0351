#[runtime::remote]
async fn double(n: u64) -> u64 {
    2 * n
}

async fn call(actor: runtime::Portal) -> runtime::Result<()> {
    actor.call::<double>(("two",)).await?;
    actor.call::<double>((1, 2)).await?;
    Ok(())
}

fn main() {}
