# An image with the tests' job types in it; CODE names the version of its code.
ARG IMAGE
FROM ${IMAGE}
COPY jobs jobs
ARG CODE
ENV CODE=${CODE}
