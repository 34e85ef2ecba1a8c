/** Requests of a soak: multipart bodies, and requests that must be refused. */
import type { Wire } from '../client.js'

const EDGE = 'soak-edge'

/** A multipart body with one image a part; the name of a part is its domain. */
export function multipart(
  parts: readonly { name: string; bytes: Uint8Array }[],
): Required<Omit<Wire, 'path' | 'method'>> {
  const chunks = parts.flatMap(({ name, bytes }) => [
    Buffer.from(
      `--${EDGE}\r\nContent-Disposition: form-data; name="${name}"; filename="image"\r\n` +
        'Content-Type: application/octet-stream\r\n\r\n',
    ),
    bytes,
    Buffer.from('\r\n'),
  ])
  const body = Buffer.concat([...chunks, Buffer.from(`--${EDGE}--\r\n`)])
  return { type: `multipart/form-data; boundary=${EDGE}`, body }
}

export interface BadRequest extends Wire {
  /** The status and the code of the refusal that it must get. */
  status: number
  code: string
}

/**
 * One request of each kind of mistake. None may change anything.
 * @param domain one that exists
 * @param image a valid PNG
 * @param pack a valid pack
 */
export function badRequests(domain: string, image: Uint8Array, pack: Uint8Array): BadRequest[] {
  const path = `/v1/domains/${domain}/predict`
  const png = { method: 'POST', type: 'image/png' }
  const raw = { method: 'PUT', type: 'application/octet-stream' }
  const text = (words: string) => Buffer.from(words)
  const damaged = Uint8Array.from(pack)
  damaged.fill(0x7b, 8, 200)
  return [
    { ...png, path: '/v1/domains/nowhere/predict', body: image, status: 404, code: 'unknown_domain' },
    { ...png, path: '/v1/domains/No..where/predict', body: image, status: 400, code: 'bad_domain_id' },
    { ...png, path: `${path}?top_k=none`, body: image, status: 400, code: 'bad_parameter' },
    { ...png, path: `${path}?version=${'0'.repeat(64)}`, body: image, status: 404, code: 'unknown_version' },
    { ...png, path, body: image.subarray(0, image.length >> 1), status: 422, code: 'undecodable_image' },
    { ...png, path, body: text('no image at all'), status: 415, code: 'unsupported_media_type' },
    { ...png, path, status: 400, code: 'empty_body' },
    { ...png, path, type: 'text/html', body: text('<p>'), status: 415, code: 'unsupported_media_type' },
    {
      ...png,
      path,
      type: 'application/json',
      body: text('{"images": ['),
      status: 400,
      code: 'malformed_request',
    },
    {
      method: 'PATCH',
      path,
      type: 'application/json',
      body: text('{}'),
      status: 405,
      code: 'method_not_allowed',
    },
    { method: 'GET', path: '/v1/nothing', status: 404, code: 'not_found' },
    {
      ...{ method: 'POST', path: '/v1/predict', status: 404, code: 'unknown_domain' },
      ...multipart([
        { name: domain, bytes: image },
        { name: 'nowhere', bytes: image },
      ]),
    },
    { ...raw, path: `/v1/domains/${domain}`, body: damaged, status: 422, code: 'invalid_pack' },
    {
      ...raw,
      path: '/v1/domains/fresh',
      body: pack.subarray(0, pack.length - 9),
      status: 422,
      code: 'invalid_pack',
    },
    { ...raw, path: '/v1/domains/base', body: pack, status: 409, code: 'base_immutable' },
    { method: 'DELETE', path: '/v1/domains/nowhere', status: 404, code: 'unknown_domain' },
  ]
}
