/**
 * Reads test images from `<domain>.zip` (or `vd_<domain>.zip`) or an unpacked folder of that name, both in
 * the layout `<split>/<class>/<file>`.
 */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import yauzl from 'yauzl'

export interface Archive {
  /** @param name path inside the archive, `<split>/<class>/<file>` */
  read(name: string): Promise<Buffer>
  /** The class folders of the train split, sorted: the order of a pack's labels. */
  classes: string[]
  close(): void
}

/** Null if the folder `dir` holds nothing of that name. */
export async function openArchive(dir: string, domain: string): Promise<Archive | null> {
  for (const name of [domain, `vd_${domain}`]) {
    const folder = join(dir, name)
    if (existsSync(folder)) {
      const classes = (await readdir(join(folder, 'train'))).sort()
      return { read: (entry) => readFile(join(folder, entry)), classes, close() {} }
    }
    if (existsSync(`${folder}.zip`)) return openZip(`${folder}.zip`)
  }
  return null
}

async function openZip(path: string): Promise<Archive> {
  const zip = await promisify<string, yauzl.Options, yauzl.ZipFile>(yauzl.open)(path, {
    lazyEntries: true,
    autoClose: false,
  })
  const entries = new Map<string, yauzl.Entry>()
  await new Promise<void>((resolve, reject) => {
    zip.on('entry', (entry: yauzl.Entry) => {
      entries.set(entry.fileName, entry)
      zip.readEntry()
    })
    zip.once('end', resolve)
    zip.once('error', reject)
    zip.readEntry()
  })
  const open = promisify(zip.openReadStream.bind(zip)) as (
    entry: yauzl.Entry,
  ) => Promise<NodeJS.ReadableStream>
  return {
    async read(name) {
      const entry = entries.get(name)
      if (!entry) throw new Error(`${path} has no file ${name}.`)
      const chunks: Buffer[] = []
      for await (const chunk of await open(entry)) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks)
    },
    classes: [
      ...new Set([...entries.keys()].flatMap((name) => /^train\/([^/]+)\/./.exec(name)?.[1] ?? [])),
    ].sort(),
    close: () => zip.close(),
  }
}
