struct Counter {
    _total: u64,
}

#[runtime::actor]
impl Counter {
    async fn total(&self) -> u64 {
        0
    }
}

fn main() {}
