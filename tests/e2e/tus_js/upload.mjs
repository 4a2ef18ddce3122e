// Upload a file with tus-js-client as its documentation does it, and print what the client tells, one JSON document a line.
// node upload.mjs ENDPOINT FILE CHUNK BUCKET KEY: goes on where the upload that is noted in urls.json stands, if there is one.

import fs from 'node:fs'
import tus from 'tus-js-client'

const [endpoint, file, chunk, bucket, key] = process.argv.slice(2)
const tell = (event, more) => console.log(JSON.stringify({ event, ...more }))

const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  chunkSize: Number(chunk),
  metadata: { bucket, key, filetype: 'video/x-matroska' },
  retryDelays: [0, 1000, 3000, 5000, 10000, 20000],
  urlStorage: new tus.FileUrlStorage('urls.json'),
  removeFingerprintOnSuccess: true,
  onBeforeRequest: (request) => tell('request', { method: request.getMethod() }),
  onUploadUrlAvailable: () => tell('url', { url: upload.url }),
  onProgress: (sent, total) => tell('progress', { sent, total }),
  onChunkComplete: (size, accepted, total) => tell('chunk', { size, accepted, total }),
  onSuccess: () => tell('success'),
  onError: (error) => {
    tell('error', { message: error.message })
    process.exitCode = 1
  },
})

const [previous] = await upload.findPreviousUploads()
if (previous) upload.resumeFromPreviousUpload(previous)
upload.start()
