async fn double(n: u64) -> u64 {
    2 * n
}

struct Double;

async fn call(actor: runtime::Portal) -> runtime::Result<()> {
    actor.call::<Double>((2,)).await?;
    Ok(())
}

fn main() {}
