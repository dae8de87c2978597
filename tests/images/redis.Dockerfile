# Where no registry can be pulled from: Debian's Redis in the place of the official image.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && mkdir /data
WORKDIR /data
VOLUME /data
EXPOSE 6379
# As the official image does: whoever is on its network may come.
ENTRYPOINT ["sh", "-c", "exec \"$@\" --protected-mode no", "sh"]
CMD ["redis-server"]
