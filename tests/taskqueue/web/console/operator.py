"""An operator who uses the console in a browser, and whose clicks are counted."""

from contextlib import suppress

from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import wait_until

WIDE, PHONE = (1280, 800), (390, 844)


class Operator:
    """Somebody who uses the console in a browser, and whose clicks are counted."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser = browser
        self.address = address
        self.clicks = 0

    def opens(self, path: str = "/") -> None:
        self.browser.get(f"{self.address}{path}")
        self.clicks = 0

    def clicks_on(self, css: str) -> None:
        self._clicks(By.CSS_SELECTOR, css)

    def clicks_text(self, text: str) -> None:
        self._clicks(By.XPATH, f"//main//*[self::a or self::button][normalize-space()='{text}']")

    def goes_to(self, page: str) -> None:
        self._clicks(By.XPATH, f"//header//nav/a[normalize-space()='{page}']")

    def _clicks(self, by: str, selector: str) -> None:
        """Click an element, when it has come; the page's script may replace it just before."""

        def is_clicked() -> bool:
            with suppress(NoSuchElementException, StaleElementReferenceException):
                element = self.browser.find_element(by, selector)
                self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
                element.click()
                return True
            return False

        wait_until(is_clicked, what=selector)
        self.clicks += 1

    def finds(self, name: str) -> WebElement:
        """Return the element with this id, when it has come."""
        wait_until(lambda: self.browser.find_elements(By.ID, name), what=name)
        return self.browser.find_element(By.ID, name)

    def searches(self, text: str) -> None:
        field = self.finds("q")
        field.clear()
        field.send_keys(text, Keys.ENTER)
        wait_until(lambda: "q=" in self.browser.current_url, what="the search")

    @property
    def text(self) -> str:
        """What the page shows; asked again if the page is just being replaced."""
        texts: list[str] = []

        def read() -> bool:
            with suppress(WebDriverException):  # Chromium has several words for a page that is gone
                texts.append(self.browser.find_element(By.TAG_NAME, "main").text)
            return bool(texts)

        wait_until(read, what="the page")
        return texts[0]

    def sees(self, text: str) -> None:
        wait_until(lambda: text in self.text, what=text)

    def errors(self) -> list[str]:
        lines = self.browser.get_log("browser")  # type: ignore[no-untyped-call]  # Selenium's, without types
        return [line["message"] for line in lines if line["level"] == "SEVERE"]


def show(browser: Chrome, size: tuple[int, int], scheme: str = "light") -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
