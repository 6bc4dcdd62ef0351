#[runtime::context]
async fn tail(cx: runtime::Context<(), u64, u64>) -> runtime::Result<()> {
    let _stream = cx.open_stream()?;
    Ok(())
}

fn main() {}
