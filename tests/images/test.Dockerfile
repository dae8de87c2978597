# An image with the tests' job types in it; CODE stands for the state of its code.
ARG IMAGE
FROM ${IMAGE}
COPY jobs jobs
ARG CODE
ENV CODE=${CODE}
