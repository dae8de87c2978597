# Replaces the mail catcher where no image can be pulled: Debian's SMTP server, without pages.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-aiosmtpd
EXPOSE 1025 8025
CMD ["python3", "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:1025", "-c", "aiosmtpd.handlers.Mailbox", "/tmp/mail"]
