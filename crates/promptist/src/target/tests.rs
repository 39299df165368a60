use super::*;

#[test]
fn clip_needs_no_folder() {
    let target = Target::open("sd15").expect("built in");
    assert_eq!(target.count("a cat").expect("short"), 2);
}
