#[runtime::context]
async fn tail(cx: runtime::Context<(), String, u64>) -> runtime::Result<()> {
    let stream = cx.started(()).await?.open_stream()?;
    stream.send("one").await
}

fn main() {}
