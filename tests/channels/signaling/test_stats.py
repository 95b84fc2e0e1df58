from channels.signaling.stats import DELIVERY_BOUNDS_S, HubStats


def test_messages_and_admissions_are_counted_by_outcome() -> None:
    stats = HubStats()
    stats.count_message("viewer", "SDP_OFFER", "held")
    stats.count_message("viewer", "SDP_OFFER", "held")
    stats.count_admission("master", "admitted")

    assert stats.messages == {("viewer", "SDP_OFFER", "held"): 2}
    assert stats.admissions == {("master", "admitted"): 1}


def test_two_hubs_do_not_share_counters() -> None:
    HubStats().count_message("viewer", "SDP_OFFER", "held")

    assert HubStats().messages == {}


def test_a_delivery_falls_into_the_bucket_of_its_time() -> None:
    stats = HubStats()
    for seconds in (0.00001, DELIVERY_BOUNDS_S[0], 0.003, 7.0):
        stats.count_relayed("viewer", "SDP_OFFER", seconds)

    assert stats.messages == {("viewer", "SDP_OFFER", "relayed"): 4}
    assert stats.delivery_counts[0] == 2
    assert stats.delivery_counts[DELIVERY_BOUNDS_S.index(0.005)] == 1
    assert stats.delivery_counts[-1] == 1
    assert 7.0 < stats.delivery_seconds < 7.01
