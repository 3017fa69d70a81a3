"""What can come of a push, as words that artifacts and records keep."""

PUSHED, SERVED_ALREADY, SERVED_AGAIN = "pushed", "served already", "served again"
TAKEN_BACK, HELD_BACK, NOT_BLESSED = "taken back", "held back", "not blessed"
