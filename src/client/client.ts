/**
 * The API as methods. The types are the document's own (`api.ts`); nothing is checked here that the service checks.
 * Runs wherever there is `fetch`: Node, Deno, browsers.
 */
import type { components } from './api.js'
import { type ClientOptions, Connection, type Sent } from './connection.js'
import { ApiProblem, Unreachable } from './problem.js'

type Schemas = components['schemas']
export type Prediction = Schemas['Prediction']
export type PredictionResult = Schemas['PredictionResult']
export type Embedding = Schemas['Embedding']
export type Domain = Schemas['Domain']
export type DomainDetails = Schemas['DomainDetails']
export type ListedDomain = Schemas['ListedDomain']
export type Uploaded = Schemas['Uploaded']
export type Family = Schemas['Family']
export type Families = Schemas['Families']

/** The bytes of an image or a pack. */
export type Bytes = Uint8Array<ArrayBuffer> | ArrayBuffer | Blob

export interface RequestOptions {
  signal?: AbortSignal
  /** Name of the request in the service's log. */
  requestId?: string
}

export interface PredictOptions extends RequestOptions {
  /** Classes in each result; the service's default is 5. */
  topK?: number
  /** A version in place of the active one, in full or its first digits. */
  version?: string
  /** Time after which the service gives the request up, ms. */
  timeoutMs?: number
}

export interface ChangeOptions extends RequestOptions {
  /** The change is made only where the domain is at this version. */
  ifVersion?: string
}

export interface PutOptions extends ChangeOptions {
  /** False registers the version without activating it. */
  activate?: boolean
  /** True refuses where the domain exists. */
  create?: boolean
}

const RAW = 'application/octet-stream'

export class FacetClient {
  readonly #connection: Connection

  constructor(options: ClientOptions = {}) {
    this.#connection = new Connection(options)
  }

  /** @returns a result for each image, in order @throws ApiProblem, Unreachable, as all methods do */
  predict(domain: string, images: Bytes | readonly Bytes[], options: PredictOptions = {}) {
    const { topK, version } = options
    const query = { top_k: topK, version }
    return this.#results<PredictionResult>(`${pathOf(domain)}/predict`, images, { query }, options)
  }

  /** Images of several domains in one request. */
  async predictMixed(
    images: readonly { domain: string; image: Bytes }[],
    options: Omit<PredictOptions, 'version'> = {},
  ): Promise<PredictionResult[]> {
    const body = new FormData()
    for (const { domain, image } of images) body.append(domain, blobOf(image), 'image')
    const sent = { query: { top_k: options.topK }, body, ...given(options) }
    return (await this.#json<Schemas['Predictions']>('POST', '/v1/predict', sent)).results
  }

  /** The features of each image, with the domain's adapter. */
  embed(domain: string, images: Bytes | readonly Bytes[], options: Omit<PredictOptions, 'topK'> = {}) {
    const query = { version: options.version }
    return this.#results<Embedding>(`${pathOf(domain)}/embed`, images, { query }, options)
  }

  /** All domains, in the order of their ids; pages are asked for as they are needed. */
  async *domains(options: RequestOptions = {}): AsyncGenerator<ListedDomain> {
    let cursor: string | undefined
    do {
      const sent = { query: { limit: 1000, cursor }, ...given(options) }
      const page = await this.#json<Schemas['DomainList']>('GET', '/v1/domains', sent)
      yield* page.domains
      cursor = page.next_cursor ?? undefined
    } while (cursor !== undefined)
  }

  /** One domain: its versions, and what its pack says of itself. */
  domain(domain: string, options: RequestOptions = {}): Promise<DomainDetails> {
    return this.#json('GET', pathOf(domain), given(options))
  }

  /** What a domain is, as Markdown. */
  async card(domain: string, options: RequestOptions = {}): Promise<string> {
    return this.#body('GET', `${pathOf(domain)}/card`, given(options), (response) => response.text())
  }

  /** Registers a pack, as a new domain or a new version of one. */
  put(domain: string, pack: Bytes, options: PutOptions = {}): Promise<Uploaded> {
    const { activate, create } = options
    const { headers, ...rest } = change(options)
    const fields = { ...headers, 'content-type': RAW, 'if-none-match': create === true ? '*' : undefined }
    return this.#json('PUT', pathOf(domain), { ...rest, query: { activate }, headers: fields, body: pack })
  }

  /** @param version in full, or its first digits */
  activate(domain: string, version: string, options: ChangeOptions = {}): Promise<Domain> {
    return this.#json('POST', `${pathOf(domain)}/activate`, change(options, { version }))
  }

  /** Keeps a domain in the bank, or no longer. */
  pin(domain: string, pinned: boolean, options: ChangeOptions = {}): Promise<Domain> {
    return this.#json('PATCH', pathOf(domain), change(options, { pinned }))
  }

  /** Deletes a domain, or one of its versions. */
  async remove(domain: string, options: ChangeOptions & { version?: string } = {}): Promise<void> {
    const { version } = options
    const path =
      version === undefined ? pathOf(domain) : `${pathOf(domain)}/versions/${encodeURIComponent(version)}`
    await this.#connection.send('DELETE', path, change(options))
  }

  /** The pack of the active version or of another one, and its version. */
  async pack(
    domain: string,
    options: RequestOptions & { version?: string } = {},
  ): Promise<{ version: string; bytes: Uint8Array<ArrayBuffer> }> {
    const sent = { query: { version: options.version }, ...given(options) }
    return this.#body('GET', `${pathOf(domain)}/pack`, sent, async (response) => {
      const version = (response.headers.get('etag') ?? '').replaceAll('"', '')
      return { version, bytes: new Uint8Array(await response.arrayBuffer()) }
    })
  }

  families(options: RequestOptions = {}): Promise<Families> {
    return this.#json('GET', '/v1/families', given(options))
  }

  /** @param name the first family where it is left out */
  family(name?: string, options: RequestOptions = {}): Promise<Family> {
    const path = name === undefined ? '/v1/family' : `/v1/families/${encodeURIComponent(name)}`
    return this.#json('GET', path, given(options))
  }

  async #results<Result>(
    path: string,
    images: Bytes | readonly Bytes[],
    sent: Sent,
    options: PredictOptions,
  ): Promise<Result[]> {
    const { headers, ...rest } = given(options)
    const body = isList(images) ? formOf(images) : images
    const fields = isList(images) ? headers : { ...headers, 'content-type': RAW }
    const answer = await this.#json<{ results: Result[] }>('POST', path, {
      ...sent,
      ...rest,
      headers: fields,
      body,
    })
    return answer.results
  }

  #json<Answer>(method: string, path: string, sent: Sent): Promise<Answer> {
    return this.#body(method, path, sent, (response) => response.json() as Promise<Answer>)
  }

  /** An answer may break off, and one of a proxy may be anything. */
  async #body<Body>(
    method: string,
    path: string,
    sent: Sent,
    read: (response: Response) => Promise<Body>,
  ): Promise<Body> {
    const response = await this.#connection.send(method, path, sent)
    try {
      return await read(response)
    } catch (error) {
      sent.signal?.throwIfAborted()
      if (!(error instanceof SyntaxError)) throw new Unreachable(this.#connection.url, error)
      throw new ApiProblem(
        response.status,
        { detail: 'The answer is not JSON: is this the service?' },
        undefined,
      )
    }
  }
}

function pathOf(domain: string): string {
  return `/v1/domains/${encodeURIComponent(domain)}`
}

function given({ signal, requestId, timeoutMs }: RequestOptions & { timeoutMs?: number }) {
  const timeout = timeoutMs === undefined ? undefined : String(timeoutMs)
  return { signal, headers: { 'x-request-id': requestId, 'x-request-timeout': timeout } }
}

function change(options: ChangeOptions, json?: object) {
  const { signal, headers } = given(options)
  const tag = options.ifVersion === undefined ? undefined : `"${options.ifVersion}"`
  const type = json === undefined ? undefined : 'application/json'
  return {
    signal,
    headers: { ...headers, 'if-match': tag, 'content-type': type },
    ...(json !== undefined && { body: JSON.stringify(json) }),
  }
}

function isList(images: Bytes | readonly Bytes[]): images is readonly Bytes[] {
  return Array.isArray(images)
}

function formOf(images: readonly Bytes[]): FormData {
  const form = new FormData()
  for (const image of images) form.append('image', blobOf(image), 'image')
  return form
}

function blobOf(bytes: Bytes): Blob {
  return bytes instanceof Blob ? bytes : new Blob([bytes])
}
