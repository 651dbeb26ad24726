"""What the tests with the real server share: server, repositories, clients, and a look into /proc."""
