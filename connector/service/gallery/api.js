// The service's REST interface. Addresses are relative, so the gallery works behind any path; see docs/service.md.

import * as key from "./key.js";
import { whereOf } from "./state.js";

const LESS = -0.5; // at -1 the images run from what is disliked instead of towards what is asked

/** What the service refused, or that it did not answer (status 0). */
export class ServiceError extends Error {
  constructor(message, { status = 0, code = "", position = null, requestId = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, position, requestId, retryAfter });
  }
}

export function search(state, { limit, offset, image, signal }) {
  const options = withoutEmpty({
    where: whereOf(state), limit, offset, mode: modeOf(state), ...orderOf(state), literal: image ? "" : state.literal,
  });
  if (image) return searchByImage(image, options, signal);
  const body = JSON.stringify({ ...questionFor(state), ...options });
  return call("v1/search", { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
}

function searchByImage(image, options, signal) {
  const form = new FormData();
  form.set("file", image, image.name ?? "image");
  form.set("options", JSON.stringify(options));
  return call("v1/search/image", { method: "POST", body: form, signal });
}

/** Words need a text, and cannot be like an image. */
const modeOf = ({ text, mode, terms, image }) => (text && !image && !(mode === "words" && terms.length) ? mode : "");

function orderOf({ sort }) {
  if (sort === "newest") return { relevant: true, order_by: "-taken_at" };
  return sort === "recent" ? { recent: true } : {};
}

function questionFor({ text, terms }) {
  if (!terms.length) return { text };
  if (!text && terms.length === 1 && terms[0].sign === "more") return { like: terms[0].id };
  const points = terms.map(({ sign, id }) => ({ weight: sign === "more" ? 1 : LESS, point: id }));
  return { query: text ? [{ weight: 1, text }, ...points] : points };
}

export function facets(field, { where, limit, signal }) {
  return call(`v1/facets?${new URLSearchParams(withoutEmpty({ field, where, limit }))}`, { signal });
}

/** The questions that stay asked: ``{ alerts }``. */
export const alerts = () => call("v1/alerts");

/** A page of the collection, in the order of a field: ``{ images, next }``. */
export const images = (asked, signal) => call(`v1/images?${new URLSearchParams(withoutEmpty(asked))}`, { signal, priority: "high" });

export const count = (where, signal) => call(`v1/count?${new URLSearchParams(withoutEmpty({ where }))}`, { signal }).then((answer) => answer.count);

export const sample = (asked, signal) => call(`v1/sample?${new URLSearchParams(withoutEmpty(asked))}`, { signal }).then((answer) => answer.images);

const TOGETHER = 200; // ids in one address

/** Remove images by their ids; ``keepalive`` lets it happen though the page goes away. */
export async function remove(ids, { keepalive = false } = {}) {
  for (let first = 0; first < ids.length; first += TOGETHER) {
    const asked = new URLSearchParams(ids.slice(first, first + TOGETHER).map((id) => ["ids", id]));
    const sent = call(`v1/images?${asked}`, { method: "DELETE", keepalive });
    if (!keepalive) await sent;
  }
}

/** Add an image; throws what the service says against it. */
export async function add(file) {
  const form = new FormData();
  form.set("file", file, file.name);
  const { images } = await call("v1/images", { method: "POST", body: form });
  const { reject } = images[0];
  if (reject) throw new ServiceError(reject.detail, { code: reject.reason });
  return images[0];
}

export const point = (id) => call(`v1/points/${encodeURIComponent(id)}`);
export const collections = () => call("v1/collections");
export const ingestions = () => call("v1/ingestions");
export const rejects = (asked) => call(`v1/rejects?${new URLSearchParams(asked)}`);

export const duplicates = () => call("v1/duplicates");
export const duplicateGroups = (id, asked) => call(`v1/duplicates/${encodeURIComponent(id)}/groups?${new URLSearchParams(asked)}`);
export const lookForDuplicates = () => call("v1/duplicates", asJson({}));
export const stopDuplicates = (id) => call(`v1/duplicates/${encodeURIComponent(id)}`, { method: "DELETE" });
/** Remember that an image is not the same as others. */
export const notSame = (id, others) => call("v1/not-same", asJson({ id, others }));

const asJson = (value) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

/** An address that the service gave, as it is seen from this page. */
export const here = (address) => address.replace(/^\//, "");

const withoutEmpty = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value || value === 0));

const SILENT = "The service does not answer. It may have been stopped, or the network is down.";

/** What the service says against showing an image of this address; null where it shows it. */
export async function refusal(address) {
  const answer = await fetch(address).catch(() => null);
  if (answer && !answer.ok) return refusalOf(answer);
  await answer?.body.cancel();
  return answer ? null : new ServiceError(SILENT);
}

/** Give an image the addresses that it has now: signed ones end. Whether they are others. */
export async function renew(image) {
  const { thumbnail_url, image_url } = await point(image.id).catch(() => image);
  const isNew = thumbnail_url !== image.thumbnail_url;
  Object.assign(image, { thumbnail_url, image_url });
  return isNew;
}

async function call(address, options = {}) {
  const sent = key.current();
  const headers = { ...options.headers, ...key.headers() };
  const response = await fetch(address, { ...options, headers }).catch((error) => {
    if (error.name === "AbortError") throw error; // a newer question took its place
    throw new ServiceError(SILENT);
  });
  if (response.ok) return response.json();
  if (response.status === 401 && (await key.another(sent))) return call(address, options);
  throw await refusalOf(response);
}

async function refusalOf(response) {
  const said = await response.json().then((body) => body.error ?? {}, () => ({}));
  return new ServiceError(said.message ?? `The service answered ${response.status} ${response.statusText}.`, {
    status: response.status,
    code: said.code,
    position: said.position ?? null,
    requestId: said.request_id,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}
