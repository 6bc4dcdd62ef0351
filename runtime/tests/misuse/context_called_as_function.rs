#[runtime::context]
async fn tail(cx: runtime::Context<u64>) -> runtime::Result<()> {
    cx.started(1).await?;
    Ok(())
}

async fn call(actor: runtime::Portal) -> runtime::Result<()> {
    actor.call::<tail>(()).await?;
    Ok(())
}

fn main() {}
