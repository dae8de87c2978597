"""The addresses of the API, one file each: a view parses the request, calls the library, and shapes the answer."""
