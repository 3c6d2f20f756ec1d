"use strict";

// Every text of the page, in each language. `{0}` is a value.
const TEXTS = {
  en: {
    title: "Orders", skip: "To the content", search: "Search by {0}", docs: "API", signIn: "Sign in", signOut: "Sign out",
    signInWhy: "This service shows orders to those who have a token. It is kept nowhere; a session of 12 hours is.",
    token: "Token", wrongToken: "This token opens nothing.",
    overview: "Overview", chart: "Orders a second, last two minutes", peak: "peak {0}", parts: "State",
    live: "As they arrive", pause: "Pause", resume: "Go on", allPages: "All pages",
    paused: "Paused; {0} more have come.", scrolled: "Scrolled down, so the list keeps still; {0} more have come.",
    skipped: "{0} orders came too fast to be listed here one by one; the pages have them all.",
    none: "No orders yet.", noneHow: "Send one with “orderd publish”, or any NATS client; it appears here at once.",
    filling: "Orders are being read from the table: {0} of about {1}. More appear as they are read.",
    disconnected: "The connection is lost; trying again. What has come meanwhile will be shown.",
    failed: "That didn't work: {0}", retry: "Try again",
    pages: "Pages", page: "Page {0}", pageOf: "Page {0} of {1}", first: "First", prev: "Previous", next: "Next", last: "Last",
    noPage: "There is no such page.", back: "Back to the list",
    order: "Order {0}", noOrder: "There is no order {0}.", cantRead: "Its row can't be decoded.",
    copy: "Copy JSON", copied: "Copied", json: "JSON", details: "Details", total: "Total", items: "Items",
    found: "{0} found for “{1}”", foundNone: "Nothing is found for “{0}”. The value must be exact.",
    by: "by {0}", close: "Close", arrived: "Arrived", id: "Id",
    up: "up", down: "away", since: "since {0}",
    nats: "NATS", postgres: "PostgreSQL", intake: "Intake", fill: "Fill of memory",
    c_mem_len: "Orders", c_orders_per_second: "A second", c_commit_ms: "Arrival to commit, ms", c_committed: "Committed",
    c_skipped: "Not listed live", c_errors: "Refused", c_dead_letters: "Dead letters", c_lag: "Still in the stream",
    "delivery.name": "Name", "delivery.phone": "Phone", "delivery.zip": "Postcode", "delivery.city": "City",
    "delivery.address": "Address", "delivery.region": "Region", "delivery.email": "E-mail",
    delivery: "Delivery", payment: "Payment", amount: "Amount", goods_total: "Goods", delivery_cost: "Delivery",
    custom_fee: "Customs", payment_dt: "Paid at", bank: "Bank", provider: "Provider", currency: "Currency",
    transaction: "Transaction", request_id: "Request", "item.name": "Article", brand: "Brand", size: "Size",
    price: "Price", sale: "Discount, %", total_price: "Sum", status: "Status",
  },
  ru: {
    title: "Заказы", skip: "К содержанию", search: "Поиск по {0}", docs: "API", signIn: "Войти", signOut: "Выйти",
    signInWhy: "Заказы показываются тем, у кого есть токен. Он нигде не хранится; хранится сеанс на 12 часов.",
    token: "Токен", wrongToken: "Этот токен ничего не открывает.",
    overview: "Обзор", chart: "Заказов в секунду за последние две минуты", peak: "пик {0}", parts: "Состояние",
    live: "Поступающие заказы", pause: "Пауза", resume: "Дальше", allPages: "Все страницы",
    paused: "Пауза; пришло ещё {0}.", scrolled: "Список прокручен и потому стоит; пришло ещё {0}.",
    skipped: "{0} заказов пришли слишком быстро, чтобы показать здесь каждый; на страницах есть все.",
    none: "Заказов пока нет.", noneHow: "Отправьте заказ командой «orderd publish» или любым клиентом NATS; он сразу появится здесь.",
    filling: "Заказы читаются из таблицы: {0} примерно из {1}. Они появляются по мере чтения.",
    disconnected: "Соединение потеряно; пробуем снова. Пришедшее за это время будет показано.",
    failed: "Не получилось: {0}", retry: "Ещё раз",
    pages: "Страницы", page: "Страница {0}", pageOf: "Страница {0} из {1}", first: "Первая", prev: "Предыдущая", next: "Следующая", last: "Последняя",
    noPage: "Такой страницы нет.", back: "К списку",
    order: "Заказ {0}", noOrder: "Заказа {0} нет.", cantRead: "Его строка не читается.",
    copy: "Копировать JSON", copied: "Скопировано", json: "JSON", details: "Подробности", total: "Итого", items: "Товары",
    found: "Найдено по «{1}»: {0}", foundNone: "По «{0}» ничего не найдено. Значение должно быть точным.",
    by: "по {0}", close: "Закрыть", arrived: "Поступил", id: "Идентификатор",
    up: "работает", down: "недоступен", since: "с {0}",
    nats: "NATS", postgres: "PostgreSQL", intake: "Приём", fill: "Заполнение памяти",
    c_mem_len: "Заказов", c_orders_per_second: "В секунду", c_commit_ms: "До записи, мс", c_committed: "Записано",
    c_skipped: "Не показано", c_errors: "Отклонено", c_dead_letters: "Недоставленные", c_lag: "Ещё в потоке",
    "delivery.name": "Имя", "delivery.phone": "Телефон", "delivery.zip": "Индекс", "delivery.city": "Город",
    "delivery.address": "Адрес", "delivery.region": "Регион", "delivery.email": "Эл. почта",
    delivery: "Доставка", payment: "Оплата", amount: "Сумма", goods_total: "Товары", delivery_cost: "Доставка",
    custom_fee: "Пошлина", payment_dt: "Оплачен", bank: "Банк", provider: "Платёжная система", currency: "Валюта",
    transaction: "Транзакция", request_id: "Запрос", "item.name": "Товар", brand: "Марка", size: "Размер",
    price: "Цена", sale: "Скидка, %", total_price: "Сумма", status: "Статус",
  },
};

function stored(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function store(name, value) {
  try { localStorage.setItem(name, value); } catch { /* a browser may refuse; then it is asked again */ }
}

let language = stored("language") ?? (navigator.language.startsWith("ru") ? "ru" : "en");
if (!(language in TEXTS)) language = "en";

/** The text of that name; where there is none, the name, as for members of other documents. */
function text(name, ...values) {
  const found = TEXTS[language][name] ?? name;
  return found.replace(/\{(\d)\}/g, (_, place) => values[place]);
}

/** A number as the language writes it. */
function number(value) {
  return new Intl.NumberFormat(language).format(value);
}

/** Puts the texts into what the document has already. */
function translate(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
}

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null).map(child => typeof child === "object" ? child : String(child)));
  return element;
}
