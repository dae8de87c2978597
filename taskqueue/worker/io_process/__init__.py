"""The I/O process of a worker: it runs many jobs at once that spend their time waiting for others.

In the process
    process.py      sets everything up, begins the runs, and knows when the process must end
    turns.py        settles and claims, many runs in one call
    run.py          one run: a coroutine in the event loop, or a function in a thread
    threads.py      the threads of the functions
    watch.py        keeps the time limits, hears the parent, and names a coroutine that blocks the event loop
In the parent
    io_child.py     the I/O process as the parent sees it, and the older ones that still end their jobs
In both
    io_channel.py   what both send each other, without Redis
"""
