"""The official API as the simulator speaks it: strict about requests, and free of Google's code."""
