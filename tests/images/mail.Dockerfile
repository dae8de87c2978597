# Where no registry can be pulled from: an SMTP server of Debian's in the mail catcher's place. It shows no pages.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3-aiosmtpd
EXPOSE 1025 8025
CMD ["python3", "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:1025", "-c", "aiosmtpd.handlers.Mailbox", "/tmp/mail"]
