#[derive(Default)]
struct Counter;

#[runtime::actor]
impl Counter {
    async fn finish(self) -> u64 {
        0
    }
}

fn main() {}
