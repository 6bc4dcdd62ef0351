#[runtime::test]
#[should_panic]
async fn works() -> runtime::Result<()> {
    Ok(())
}

fn main() {}
