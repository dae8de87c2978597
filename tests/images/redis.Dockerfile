# Replaces the official image where no image can be pulled: Debian's Redis.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && mkdir /data
WORKDIR /data
VOLUME /data
EXPOSE 6379
# Like the official image: every container on its network may connect.
ENTRYPOINT ["sh", "-c", "exec \"$@\" --protected-mode no", "sh"]
CMD ["redis-server"]
