#[runtime::test]
async fn works(n: u64) {
    assert_eq!(n, 1);
}

fn main() {}
