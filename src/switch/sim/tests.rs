use super::*;

#[test]
fn devices_are_numbered_from_1() {
    let names: Vec<_> = SimSettings { devices: 2, ..SimSettings::default() }
        .device_names(&"sim".parse().unwrap())
        .map(|name| name.unwrap().to_string())
        .collect();
    assert_eq!(names, ["sim-00001", "sim-00002"]);
}
