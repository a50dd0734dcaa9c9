"""C++ sources of the native engine, and the plan that they read."""
