#[runtime::context]
async fn tail(cx: runtime::Context<u64>) -> runtime::Result<()> {
    let started = cx.started(1).await?;
    cx.started(2).await?;
    started.cancel();
    Ok(())
}

fn main() {}
