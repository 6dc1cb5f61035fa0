// The shelf, the orders and the live line. Plain browser code: what is in this file is what runs.
'use strict';

const SPRITE = '/assets/sprite.9aa9b190.svg';
const STATES = ['placed', 'packing', 'shipped'];
const SHOWN_ORDERS = 12;
const SHOWN_ECHOES = 5;

const find = (id) => document.getElementById(id);
const money = (cents) => new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' }).format(cents / 100);

/** What the API answered in place of what was asked for. */
class Refusal extends Error {}

/** Asks the API; throws a Refusal with its own words, or another error when there is no usable answer. */
async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(8000), cache: 'no-store' });
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  if (!isJson) throw new Error(`${path} is not answered by the API at this address`);
  const body = await response.json();
  if (!response.ok) throw new Refusal(body.error?.message ?? `the API answered ${response.status}`);
  return body;
}

function notice(id, text) {
  const place = find(id);
  place.hidden = !text;
  place.textContent = text ?? '';
}

/* The API's version and replica, asked every few seconds: a release shows itself here. */
async function showVersion() {
  const place = find('served');
  const text = find('served-text');
  try {
    const { version, replica } = await ask('/api/version');
    const strong = document.createElement('strong');
    strong.textContent = `API version ${version}`;
    const line = [strong, ` on ${replica}`];
    if (text.textContent !== `${strong.textContent}${line[1]}`) text.replaceChildren(...line);
    place.className = 'served up';
  } catch (error) {
    text.textContent = 'The API does not answer';
    place.className = 'served down';
  }
}

/* The shelf. */
const products = new Map();

async function showProducts() {
  const list = find('product-list');
  try {
    const answer = await ask('/api/products');
    for (const product of answer.products) products.set(product.id, product);
    list.replaceChildren(...answer.products.map(productItem));
    list.setAttribute('aria-busy', 'false');
    notice('shelf-notice', answer.products.length ? null : 'The shelf is empty. Has `shop-api migrate` been run?');
  } catch (error) {
    notice('shelf-notice', `The shelf cannot be shown: ${error.message}. Trying again.`);
    setTimeout(showProducts, 2000);
  }
}

function productItem(product) {
  const item = find('product-template').content.firstElementChild.cloneNode(true);
  item.querySelector('use').setAttribute('href', `${SPRITE}#${product.icon}`);
  item.querySelector('h3').textContent = product.name;
  item.querySelector('.about').textContent = product.description;
  item.querySelector('.price').textContent = money(product.priceCents);
  const quantity = item.querySelector('input');
  quantity.id = `quantity-${product.id}`;
  const label = item.querySelector('label');
  label.htmlFor = quantity.id;
  label.textContent = `Quantity of ${product.name}`;
  const button = item.querySelector('button');
  button.setAttribute('aria-label', `Order ${product.name}`);
  item.querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    place(product, quantity, button);
  });
  return item;
}

/* Placing an order. The key stays the same until the API has answered, so that trying again cannot order twice. */
const keys = new Map();

async function place(product, quantity, button) {
  const wanted = quantity.valueAsNumber;
  const purpose = `${product.id}×${wanted}`;
  if (!keys.has(purpose)) keys.set(purpose, newKey());
  button.disabled = true;
  try {
    const body = JSON.stringify({ product: product.id, quantity: wanted, key: keys.get(purpose) });
    const order = await ask('/api/orders', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    keys.delete(purpose);
    quantity.value = '1';
    notice('order-notice', null);
    find('order-said').textContent = `Order ${order.id} placed: ${wanted} × ${product.name}`;
    await showOrders();
  } catch (error) {
    if (error instanceof Refusal) keys.delete(purpose);
    notice('order-notice', `The order was not taken: ${error.message}.`);
  } finally {
    button.disabled = false;
  }
}

/* crypto.randomUUID needs a secure origin, which a machine in the local network is not. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/* The orders, asked often while one is under way. */
let ordersTimer;

async function showOrders() {
  clearTimeout(ordersTimer);
  let isUnderWay = false;
  try {
    const { orders } = await ask(`/api/orders?limit=${SHOWN_ORDERS}`);
    find('order-empty').hidden = orders.length > 0;
    updateOrders(orders);
    isUnderWay = orders.some((order) => order.state !== 'shipped');
  } catch (error) {
    // The line about the API at the top of the page says so already; the last known orders stay.
  }
  ordersTimer = setTimeout(showOrders, isUnderWay ? 500 : 3000);
}

/* Items are kept and changed in place: focus, scroll position and a reader's place stay where they are. */
function updateOrders(orders) {
  const list = find('order-list');
  const known = new Map(Array.from(list.children, (item) => [item.dataset.order, item]));
  const items = orders.map((order) => {
    const item = known.get(String(order.id)) ?? orderItem(order);
    showState(item, order);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, n) => list.children[n] !== item)) list.replaceChildren(...items);
}

function orderItem(order) {
  const item = find('order-template').content.firstElementChild.cloneNode(true);
  item.dataset.order = order.id;
  const number = document.createElement('span');
  number.className = 'number';
  number.textContent = `#${order.id} `;
  const name = products.get(order.product)?.name ?? `Product ${order.product}`;
  item.querySelector('.what').append(number, `${order.quantity} × ${name}`);
  item.querySelector('.price').textContent = money(order.totalCents);
  return item;
}

function showState(item, order) {
  const reached = STATES.indexOf(order.state);
  item.className = `order ${order.state}`;
  item.querySelectorAll('.steps li').forEach((step, n) => {
    step.classList.toggle('reached', n <= reached);
    step.classList.toggle('now', n === reached);
    if (n === reached) step.setAttribute('aria-current', 'step');
    else step.removeAttribute('aria-current');
  });
}

/* The live line: connects again when a replica says goodbye. */
let socket;
let patience = 250;

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  socket = new WebSocket(`${scheme}//${location.host}/socket`);
  socket.addEventListener('open', () => {
    patience = 250;
    showLine(true);
  });
  socket.addEventListener('message', ({ data }) => showEcho(data));
  socket.addEventListener('close', () => {
    showLine(false);
    setTimeout(connect, patience);
    patience = Math.min(patience * 2, 8000);
  });
}

function showLine(isOpen) {
  const badge = find('line-state');
  badge.textContent = isOpen ? 'open' : 'connecting';
  badge.classList.toggle('open', isOpen);
  find('hail-send').disabled = !isOpen;
}

function showEcho(data) {
  if (typeof data !== 'string') return;
  const { text, version } = JSON.parse(data);
  const item = document.createElement('li');
  const from = document.createElement('span');
  from.textContent = `version ${version}`;
  item.append(text, from);
  const list = find('echoes');
  list.prepend(item);
  while (list.children.length > SHOWN_ECHOES) list.lastElementChild.remove();
}

find('hail').addEventListener('submit', (event) => {
  event.preventDefault();
  const input = find('hail-text');
  const text = input.value.trim() || input.placeholder;
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(text);
  input.value = '';
});

showVersion();
setInterval(showVersion, 2000);
showProducts().then(showOrders);
connect();
