#[runtime::remote]
async fn same<T>(value: T) -> T {
    value
}

fn main() {}
