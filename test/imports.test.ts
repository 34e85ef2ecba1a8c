/**
 * Which room of `src/` may import which. Imports run downwards only; docs/architecture.md says what each room is for.
 * A new arrow is a decision: change this table and the page together.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, resolve } from 'node:path'
import t from 'tap'
import ts from 'typescript'

const root = resolve('src')

/** From the top floor down: a room, and the rooms it may import. What lies in `src/` itself is a room of its file's name. */
const rooms: [room: string, mayImport: string][] = [
  ['cli', 'serve commands config host'],
  [
    'serve',
    'config http http/access http/connections http/exchange http/pages predict registry residency specialise engine engine/runtime scheduler store image native family manifest host bytes concurrency errors shown-text',
  ],
  [
    'commands',
    'engine engine/runtime compiler compiler/int8 store image family pack manifest manifest/kinds onnx bytes concurrency host client errors shown-text',
  ],
  [
    'http',
    'http/routes http/routes/v1 http/routes/v2 http/bodies http/connections http/access http/exchange',
  ],
  ['http/routes', 'http/pages http/exchange errors'],
  ['http/routes/v1', 'http/bodies http/access http/exchange predict registry bytes errors domain-id'],
  ['http/routes/v2', 'http/bodies http/access http/exchange oip predict registry concurrency bytes errors'],
  ['http/pages', 'http/exchange host'],
  ['http/bodies', 'http/access http/exchange strict concurrency bytes errors shown-text'],
  ['http/connections', 'http/access http/exchange concurrency errors'],
  [
    'http/exchange',
    'http/access predict registry residency manifest concurrency errors similar-text shown-text',
  ],
  ['http/access', 'concurrency host errors domain-id'],
  ['oip', 'predict strict concurrency errors domain-id shown-text'],
  ['predict', 'registry engine scheduler pack concurrency errors'],
  ['registry', 'residency store family manifest pack bytes concurrency errors domain-id'],
  ['specialise', 'residency engine compiler pack manifest onnx bytes concurrency errors'],
  ['residency', 'engine family manifest manifest/kinds pack bytes concurrency errors'],
  ['config', 'engine engine/runtime scheduler host domain-id'],
  ['engine', 'engine/runtime native family pack manifest strict bytes concurrency errors'],
  [
    'compiler',
    'compiler/slots compiler/int8 family manifest manifest/kinds pack onnx similar-text shown-text',
  ],
  ['compiler/int8', 'manifest onnx bytes'],
  ['compiler/slots', 'manifest manifest/kinds pack onnx'],
  ['scheduler', 'concurrency errors'],
  ['store', 'bytes concurrency errors domain-id shown-text'],
  ['image', 'image/headers native manifest concurrency bytes errors'],
  ['image/headers', 'concurrency bytes errors shown-text'],
  ['native', 'engine/runtime host'],
  ['engine/runtime', ''],
  ['family', 'pack manifest safetensors strict errors'],
  ['pack', 'manifest manifest/kinds safetensors strict concurrency bytes errors'],
  ['manifest', 'manifest/kinds strict'],
  ['manifest/kinds', ''],
  ['safetensors', 'strict concurrency'],
  ['onnx', 'bytes'],
  ['strict', 'concurrency shown-text'],
  ['concurrency', 'errors'],
  ['bytes', ''],
  ['host', ''],
  ['client', ''],
  ['domain-id', 'errors shown-text'],
  ['errors', 'shown-text'],
  ['similar-text', ''],
  ['shown-text', ''],
]

/** Packages that one room keeps to itself, so that nothing else depends on how they work. */
const owned: Record<string, string[]> = {
  'onnxruntime-node': ['engine/runtime'],
  sharp: ['image'],
  'onnx-proto': ['onnx'],
  'prom-client': ['serve'],
  'pino-pretty': ['serve'],
  'ml-matrix': ['compiler'],
  '@fastify/multipart': ['http/bodies'],
}

/**
 * The room of a file within `src/`: its folder, or the nearest folder around it that the table names; the folder itself
 * where there is none. A file in `src/` itself is its own room.
 */
function roomOf(file: string): string {
  const folder = posix.dirname(file)
  if (folder === '.') return file.replace(/\.ts$/, '')
  for (let room = folder; room !== '.'; room = posix.dirname(room))
    if (rooms.some(([name]) => name === room)) return room
  return folder
}

/** What a file imports: names of packages, and paths within `src/`. Imports of types and `import()` count too. */
function importsOf(file: string, source: string): { packages: string[]; files: string[] } {
  const names = ts.preProcessFile(source, true, true).importedFiles.map(({ fileName }) => fileName)
  const resolve = (name: string) => posix.normalize(posix.join(posix.dirname(file), name))
  return {
    packages: names.filter((name) => !name.startsWith('.')),
    files: names.filter((name) => name.startsWith('.')).map((name) => resolve(name).replace(/\.js$/, '.ts')),
  }
}

/** What is wrong with the imports of these sources, by path within `src/`. */
function problemsOf(sources: ReadonlyMap<string, string>): string[] {
  const problems: string[] = []
  const floor = new Map(rooms.map(([room], index) => [room, index]))
  const allowed = new Map(rooms.map(([room, may]) => [room, new Set(may.split(' '))]))
  const imports = new Map<string, string[]>()
  for (const [file, source] of sources) {
    const room = roomOf(file)
    if (!floor.has(room)) problems.push(`${file}: the room ${room} is not in the table`)
    const { packages, files } = importsOf(file, source)
    for (const name of packages) {
      const owners = owned[name]
      if (owners && !owners.includes(room)) problems.push(`${file}: ${name} belongs to ${owners.join(', ')}`)
    }
    for (const target of files) {
      const other = roomOf(target)
      if (other === room) continue
      if ((floor.get(other) ?? -1) <= (floor.get(room) ?? 0))
        problems.push(`${file}: the import of ${target} runs up, from ${room} to ${other}`)
      else if (!allowed.get(room)?.has(other))
        problems.push(`${file}: ${room} may not import ${other} (${target})`)
    }
    imports.set(file, files)
  }
  return [...problems, ...circles(imports)]
}

/** Circles among files, each told once. */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): void => {
    const start = path.indexOf(file)
    if (start >= 0) {
      found.push(`a circle: ${[...path.slice(start), file].join(' -> ')}`)
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const next of imports.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of imports.keys()) visit(file)
  return found
}

function readSources(): Map<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).map((name) =>
    name.replaceAll('\\', '/'),
  )
  const files = names.filter((name) => name.endsWith('.ts'))
  return new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))
}

t.test('imports run downwards, between rooms that may know each other, and in no circle', async (t) => {
  t.same(problemsOf(readSources()), [])
})

t.test('a planted import that runs up, goes sideways or closes a circle is found', async (t) => {
  const planted = (file: string, source: string) => {
    const sources = readSources()
    sources.set(file, `${source}\n${sources.get(file) ?? ''}`)
    return problemsOf(sources)
  }
  const cases: [file: string, source: string, problem: RegExp][] = [
    [
      'scheduler/line.ts',
      "import { Predictor } from '../predict/predictor.js'",
      /scheduler\/line.ts: .* runs up/,
    ],
    ['store/fs.ts', "import type { Engine } from '../engine/engine.js'", /runs up, from store to engine/],
    ['serve/main.ts', "await import('../compiler/build.js')", /serve may not import compiler/],
    [
      'image/decode.ts',
      "import { Tensor } from 'onnxruntime-node'",
      /onnxruntime-node belongs to engine\/runtime/,
    ],
    [
      'pack/expected.ts',
      "import { readPack } from './read.js'",
      /a circle: .*pack\/expected.ts -> pack\/read.ts/,
    ],
    ['utils/all.ts', 'export const x = 1', /the room utils is not in the table/],
    ['loose.ts', 'export const x = 1', /the room loose is not in the table/],
  ]
  for (const [file, source, problem] of cases) t.match(planted(file, source).join('\n'), problem)
})

t.test('every arrow of the table is used', async (t) => {
  const used = new Set<string>()
  for (const [file, source] of readSources())
    for (const target of importsOf(file, source).files) used.add(`${roomOf(file)} -> ${roomOf(target)}`)
  const unused = rooms.flatMap(([room, may]) =>
    may
      .split(' ')
      .filter((other) => other !== '' && !used.has(`${room} -> ${other}`))
      .map((other) => `${room} -> ${other}`),
  )
  t.same(unused, [])
})
